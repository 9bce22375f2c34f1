"""Regions that a resync has made equal, although no checkpoint has them yet.

A region is settled when it was compared and the secondary has applied what that sent
again. A later write unsettles it. So an interrupted resync, of a first copy as well,
goes on where it was. What is settled stays dirty: it is equal, and still ahead of the
last checkpoint.

They live in the intent log's file (`intent.file`), among whose records their own stand:

    record kind | volume | a            | b           | payload
    COPY        | 0      | incarnation  | 0           | replica_id
    SETTLED     | index  | first region | end region  | none
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pyroaring import BitMap

from blkcolo.intent.regions import runs
from blkcolo.storage import records

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blkcolo.extents import Extent

COPY, SETTLED = 4, 5


class Copy(NamedTuple):
    """The copy whose applied content the settled regions equal; see `Welcome`."""

    replica_id: str
    incarnation: int


class SettledRegions:
    """The settled regions of one group."""

    def __init__(self, sizes: Sequence[int], shift: int) -> None:
        """Nothing is settled yet.

        Args:
            sizes: the volumes' sizes in bytes.
            shift: a region is 1 << shift bytes.
        """
        self.copy: Copy | None = None
        self.regions = [BitMap() for _ in sizes]
        self._sizes = sizes
        self._shift = shift
        self._settling: list[BitMap] | None = None

    def __bool__(self) -> bool:
        """True if anything is settled."""
        return any(self.regions)

    def start_copy(self, copy: Copy | None) -> None:
        """Forgets what other copies settled."""
        self.copy = copy
        self.regions = [BitMap() for _ in self._sizes]
        self._settling = None

    def copy_record(self) -> bytes:
        """The record that stands before all that is settled."""
        copy = self.copy or Copy("", 0)
        payload = copy.replica_id.encode()
        return records.header(COPY, 0, copy.incarnation, 0, payload) + payload

    def unsettles(self, volume: int, first: int, end: int) -> bool:
        """True if a write of regions [first, end) makes a settled one differ."""
        if self._settling is not None:
            self._settling[volume].remove_range(first, end)
        settled = self.regions[volume]
        return bool(settled) and settled.range_cardinality(first, end) > 0

    def concerned(self, volume: int, regions: BitMap) -> bool:
        """True if a write of these regions may unsettle one."""
        if self._settling is not None:
            return True
        return self.copy is not None and self.regions[volume].intersect(regions)

    def start(self, compared: Sequence[Sequence[Extent]]) -> None:
        """Whole regions of these extents are settled by `finish`.

        But for those that are written in between. Where power loss is to be survived,
        both disks are synced between the two.
        """
        self._settling = [BitMap() for _ in self._sizes]
        for volume, extents in enumerate(compared):
            for extent in extents:
                first = -(-extent.offset >> self._shift)
                end = extent.end >> self._shift
                if extent.end == self._sizes[volume]:  # the last region may be cut
                    end = -(-extent.end >> self._shift)
                self._settling[volume].add_range(first, end)

    @property
    def settling(self) -> bool:
        """True between `start` and its end."""
        return self._settling is not None

    def abandon(self) -> None:
        """What `start` named is not settled after all."""
        self._settling = None

    def records_of_settling(self) -> bytes:
        """What is to be in the log before `finish`."""
        return b"".join(
            records.header(SETTLED, volume, first, end)
            for volume, bitmap in enumerate(self._settling or ())
            for first, end in runs(bitmap)
        )

    def finish(self) -> None:
        """The log says so, and the secondary has applied what made them equal."""
        for settled, more in zip(self.regions, self._settling or (), strict=False):
            settled.update(more)
        self._settling = None
