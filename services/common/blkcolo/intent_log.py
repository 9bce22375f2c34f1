"""Which regions may differ from the last committed checkpoint: a persistent bitmap.

Each bit is on disk before the write that it stands for, so whatever dies, the regions
named here are all that a resync has to look at. A primary marks what its VM writes,
and clears bits lazily, some time after the commit that made them superfluous: a hot
region pays for its bit once. A secondary that was failed over marks what its VM
writes from then on, and what the failover undid. A primary that was demoted keeps its
bits: they say where it ran ahead of the checkpoint.

The file is a log (framing: `blkcolo.records`), rewritten as a whole when bits are
cleared:

    record kind | volume | a            | b           | payload
    BASE        | 0      | committed    | region size | JSON: replica_id, sizes
    BITMAP      | index  | 0            | 0           | roaring bitmap, portable form
    MARK        | index  | first region | end region  | none
    COPY, SETTLED: see `settled_regions`

A file that is missing, damaged, or of other sizes says nothing: everything may differ.
So does one whose BASE names no copy: it is there for what is settled, and a
MARK in it unsettles.

After DRBD's activity log and bitmap, QEMU's dirty bitmaps.
"""

from __future__ import annotations

import enum
import json
from typing import TYPE_CHECKING, NamedTuple

from pyroaring import BitMap

from blkcolo import records, settled_regions
from blkcolo.errors import DataLoss
from blkcolo.extents import BLOCK_SIZE, Extent
from blkcolo.records import RecordLog
from blkcolo.settled_regions import Copy, SettledRegions, runs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from blkcolo.files import Folder

#: A region is at least this long, in bytes.
SMALLEST_REGION = 64 << 10
#: A volume has at most about this many regions where the size is chosen for it.
_MOST_REGIONS = 1 << 20
#: Of bits that any commit clears; epochs start at 0.
BEFORE_ALL_EPOCHS = -1
#: Epochs that may be uncommitted at once before their bits are joined.
_MOST_EPOCHS = 16


class IntentKind(enum.IntEnum):
    """Record kinds of an intent log."""

    BASE = 1
    BITMAP = 2
    MARK = 3
    COPY = settled_regions.COPY
    SETTLED = settled_regions.SETTLED


class Base(NamedTuple):
    """The copy, and the checkpoint in it, that the bits are relative to."""

    replica_id: str
    committed: int


def region_size_for(largest_volume: int) -> int:
    """The default size of a region, in bytes, by the size of the largest volume."""
    size = SMALLEST_REGION
    while largest_volume // size > _MOST_REGIONS:
        size *= 2
    return size


class IntentLog:
    """The intent log of one group."""

    def __init__(
        self, folder: Folder, group: str, sizes: Sequence[int], region_size: int
    ) -> None:
        """Reads back what an earlier run left.

        Args:
            folder: where it lives.
            group: the group's name; the file's, too.
            sizes: the volumes' sizes in bytes.
            region_size: bytes a bit stands for; a power of two.
        """
        self.base: Base | None = None
        #: Why an existing log could not be used; None where there is no such log.
        self.damage: DataLoss | None = None
        self.region_size = region_size
        self._folder = folder
        self._name = f"{group}.intent"
        self.sizes = list(sizes)
        self._shift = region_size.bit_length() - 1
        self._marked = [BitMap() for _ in sizes]
        self._touched: dict[int, list[BitMap]] = {}
        self._keep: list[BitMap] | None = None
        #: What an unfinished resync has made equal.
        self.settled = SettledRegions(self.sizes, self._shift)
        self._unsynced = [BitMap() for _ in sizes]
        self._syncing = [BitMap() for _ in sizes]
        self._log: RecordLog | None = None
        self._understood = False
        if self._name in folder.names():
            self._load()

    def _load(self) -> None:
        file = self._folder.open(self._name)
        try:
            log = RecordLog(file, self._name)
            for record in log.load():
                self._take(log, record)
        except DataLoss as error:
            self.damage = error
            self.forget()
            file.close()
            return
        if not self._understood:
            self.base = None
            self.settled.start_copy(None)
        if self.base is None and not self.settled:
            file.close()
            self.forget()
            return
        self._log = log
        self._touched[BEFORE_ALL_EPOCHS] = [bitmap.copy() for bitmap in self._marked]

    def _take(self, log: RecordLog, record: records.Record) -> None:
        match record.kind:
            case IntentKind.BASE:
                said = json.loads(log.payload(record))
                same = said["sizes"] == self.sizes and record.b == self.region_size
                self._understood = same
                if same and said["replica_id"]:
                    self.base = Base(said["replica_id"], record.a)
            case IntentKind.BITMAP:
                self._marked[record.volume] |= BitMap.deserialize(log.payload(record))
            case IntentKind.MARK:
                self._marked[record.volume].add_range(record.a, record.b)
                settled = self.settled.regions[record.volume]
                settled.remove_range(record.a, record.b)
            case IntentKind.COPY:
                replica_id = log.payload(record).decode()
                self.settled.start_copy(Copy(replica_id, record.a))
            case IntentKind.SETTLED:
                self.settled.regions[record.volume].add_range(record.a, record.b)
            case _:
                self._understood = False  # of a newer version

    # What it says.

    @property
    def known(self) -> bool:
        """True if the bits say all; False: everything may differ."""
        return self.base is not None

    @property
    def dirty_bytes(self) -> int | None:
        """Bytes of marked regions; None if it is not known."""
        if self.base is None:
            return None
        return sum(
            self._length(bitmap, size)
            for bitmap, size in zip(self._marked, self.sizes, strict=True)
        )

    def _length(self, bitmap: BitMap, size: int) -> int:
        """Bytes of the marked regions; the last one may be cut by the size."""
        last = (size - 1) >> self._shift
        cut = ((last + 1) << self._shift) - size if last in bitmap else 0
        return (len(bitmap) << self._shift) - cut

    def dirty(self) -> list[list[Extent]]:
        """The marked extents of each volume, in order; all of it if not known."""
        if self.base is None:
            return [[Extent(0, size)] for size in self.sizes]
        return self._all_extents(self._marked)

    def _all_extents(self, bitmaps: Sequence[BitMap]) -> list[list[Extent]]:
        return [
            list(self._extents(bitmap, size))
            for bitmap, size in zip(bitmaps, self.sizes, strict=True)
        ]

    def _extents(self, bitmap: BitMap, size: int) -> Iterator[Extent]:
        for first, end in runs(bitmap):
            start = first << self._shift
            yield Extent(start, min(end << self._shift, size) - start)

    def grow(self, volume: int, size: int) -> None:
        """A volume is larger now; its tail is clean.

        Raises:
            OSError: the file could not be written: everything may differ.
        """
        self.sizes[volume] = size
        if self._log is None:
            return
        base, marked, copy = self.base, self._marked, self.settled.copy
        try:
            self._rewrite(base or Base("", 0), marked, copy)
        except OSError:
            self.forget()
            raise

    # Before each write.

    def mark(self, epoch: int, volume: int, offset: int, length: int) -> bool:
        """Marks the regions of an extent; True if the file was written for it.

        Args:
            epoch: the epoch that the write belongs to.
            volume: the volume's index.
            offset: the write's first byte.
            length: its length in bytes.

        Raises:
            OSError: the file could not be written; the write must not happen.
        """
        first, end = offset >> self._shift, ((offset + length - 1) >> self._shift) + 1
        touched = self._touched.get(epoch)
        if touched is None:
            touched = self._touch_epoch(epoch)
        marked = self._marked[volume]
        touched[volume].add_range(first, end)
        if self._keep is not None:
            self._keep[volume].add_range(first, end)
        unsettles = self.settled.copy is not None and self.settled.unsettles(
            volume, first, end
        )
        covered = self.base is None or marked.contains_range(first, end)
        if self._log is None or (covered and not unsettles):
            return False
        self._log.append(records.header(IntentKind.MARK, volume, first, end))
        marked.add_range(first, end)
        self.settled.regions[volume].remove_range(first, end)
        self._unsynced[volume].add_range(first, end)
        return True

    def _touch_epoch(self, epoch: int) -> list[BitMap]:
        """Starts an epoch's bits; the oldest two share theirs where there are many."""
        if len(self._touched) >= _MOST_EPOCHS:
            older, newer = sorted(self._touched)[:2]
            joined = zip(self._touched[newer], self._touched.pop(older), strict=True)
            self._touched[newer] = [mine | theirs for mine, theirs in joined]
        return self._touched.setdefault(epoch, [BitMap() for _ in self.sizes])

    def unsynced(self, volume: int, offset: int, length: int) -> bool:
        """True if a mark of the extent may not survive power loss yet."""
        first, end = offset >> self._shift, ((offset + length - 1) >> self._shift) + 1
        return any(
            bitmaps[volume].range_cardinality(first, end)
            for bitmaps in (self._unsynced, self._syncing)
        )

    def start_sync(self) -> None:
        """What is marked up to now is what the next `sync` makes durable."""
        self._syncing = self._unsynced
        self._unsynced = [BitMap() for _ in self.sizes]

    def end_sync(self, *, durable: bool) -> None:
        """The `sync` is over, and succeeded or not."""
        if not durable:
            both = zip(self._syncing, self._unsynced, strict=True)
            self._unsynced = [syncing | unsynced for syncing, unsynced in both]
        self._syncing = [BitMap() for _ in self.sizes]

    def sync(self) -> None:
        """Makes the marks durable, on any thread; raises OSError."""
        if self._log is not None:
            self._log.sync()

    # What a resync has done.

    def welcomed(self, copy: Copy, committed: int | None) -> None:
        """A stream to this copy stands; what other copies settled is forgotten.

        Raises:
            OSError: the file could not be written.
        """
        same = self.base is not None and self.base.replica_id == copy.replica_id
        if same and committed is not None:
            for old in [e for e in self._touched if 0 <= e <= committed]:
                del self._touched[old]
        if self.settled.copy == copy:
            return
        self.settled.start_copy(copy)
        if self._log is not None:
            self._log.append(self.settled.copy_record())

    def wanted(
        self, *, everything: bool, ahead: Sequence[Sequence[Extent]] = ()
    ) -> list[list[Extent]]:
        """What a resync must compare, less what is settled.

        Args:
            everything: all of it; otherwise what is dirty.
            ahead: extents of each volume that are dirty on the other side.
        """
        regions = self._live()
        for bitmap, extents in zip(regions, ahead, strict=False):
            for extent in extents:
                end = ((extent.end - 1) >> self._shift) + 1
                bitmap.add_range(extent.offset >> self._shift, end)
        if everything or self.base is None:
            regions = [BitMap(range(-(-s >> self._shift))) for s in self.sizes]
        both = zip(regions, self.settled.regions, strict=True)
        return self._all_extents([wanted - settled for wanted, settled in both])

    def finish_settle(self) -> None:
        """Settles what `settled.start` named.

        Raises:
            OSError: the file could not be written; nothing more is settled.
        """
        content = self.settled.records_of_settling()
        try:
            if self._log is None:
                self._start_log()
            if self._log is not None:
                self._log.append(content)
        except OSError:
            self.settled.abandon()
            raise
        self.settled.finish()

    def _start_log(self) -> None:
        """A file that says nothing of what is dirty, to hold what is settled."""
        file = self._folder.open(self._name)
        file.truncate(0)
        log = RecordLog(file, self._name)
        log.append(self._base_record(Base("", 0)) + self.settled.copy_record())
        self._log = log

    def _base_record(self, base: Base) -> bytes:
        said = json.dumps({"replica_id": base.replica_id, "sizes": self.sizes})
        return _record(
            IntentKind.BASE, 0, base.committed, self.region_size, said.encode()
        )

    # After each commit.

    def committed(self, epoch: int, base: Base) -> None:
        """Takes a commit in; `start_clear` and `finish_clear` clear its bits."""
        for old in [e for e in self._touched if e <= epoch]:
            del self._touched[old]
        if self.base is not None and self.base.replica_id == base.replica_id:
            self.base = base

    @property
    def stale_regions(self) -> int:
        """Marked regions that no epoch above the last commit has written."""
        live = self._live()
        return sum(
            len(marked) - marked.intersection_cardinality(live[volume])
            for volume, marked in enumerate(self._marked)
        )

    def _live(self) -> list[BitMap]:
        return [
            BitMap.union(BitMap(), *(touched[volume] for touched in layers))
            for volume in range(len(self.sizes))
            for layers in [list(self._touched.values())]
        ]

    def start_clear(self) -> None:
        """From here on, what `finish_clear` keeps is noted.

        Between the two the disks are synced where power loss is to be survived: a
        write that power loss takes back differs from the other side's, and only its
        bit can tell.
        """
        self._keep = self._live()

    @property
    def clearing(self) -> bool:
        """True between `start_clear` and `finish_clear`."""
        return self._keep is not None

    def abandon_clear(self) -> None:
        """Keeps all bits after all."""
        self._keep = None

    def finish_clear(self, base: Base, *, durable: bool) -> None:
        """Rewrites the file with the bits that are still needed.

        Raises:
            OSError: the disk refused; the old file holds, and says more than it must.
        """
        keep, self._keep = self._keep or self._live(), None
        self._rewrite(base, keep, None, durable=durable)
        self._marked, self.base = keep, base

    def start(self, base: Base, blocks: Sequence[BitMap], *, durable: bool) -> None:
        """Starts anew, relative to another base.

        Args:
            base: what the bits are relative to from here on.
            blocks: the blocks of 4 KiB of each volume that differ from it already.
            durable: power loss is to be survived.

        Raises:
            OSError: the disk refused; what the log said before holds.
        """
        self._keep = None
        marked = [self._regions(each) for each in blocks]
        self._rewrite(base, marked, None, durable=durable)
        self._marked, self.base = marked, base
        self._touched = {BEFORE_ALL_EPOCHS: [bitmap.copy() for bitmap in marked]}
        self._unsynced = [BitMap() for _ in self.sizes]

    def _regions(self, blocks: BitMap) -> BitMap:
        """The regions that have at least one of these blocks of 4 KiB."""
        shift = self._shift - (BLOCK_SIZE.bit_length() - 1)
        regions = BitMap()
        last = blocks.max() if blocks else -1
        block = blocks.min() if blocks else 0
        while block <= last:
            regions.add(block >> shift)
            following = ((block >> shift) + 1) << shift
            block = blocks.next_set_bit(following) if following <= last else following
        return regions

    def _rewrite(
        self,
        base: Base,
        marked: Sequence[BitMap],
        copy: Copy | None,
        *,
        durable: bool = True,
    ) -> None:
        """Replaces the file; nothing is settled in the new one."""
        content = self._base_record(base)
        for volume, bitmap in enumerate(marked):
            if bitmap:
                content += _record(IntentKind.BITMAP, volume, 0, 0, bitmap.serialize())
        spare = self._folder.open(f"{self._name}.new")
        log = RecordLog(spare, self._name)
        try:
            spare.truncate(0)
            log.append(content)
            if durable:
                log.sync()
            self._folder.rename(f"{self._name}.new", self._name)
        except OSError:
            log.close()
            raise
        if self._log is not None:
            self._log.close()
        self._log = log
        self.settled.start_copy(copy)
        if copy is not None:
            log.append(self.settled.copy_record())

    def forget(self) -> None:
        """Says nothing any more: everything may differ."""
        self._keep = None
        if self._log is not None:
            self._log.close()
        self._folder.remove(self._name)
        self.base, self._log = None, None
        self._marked = [BitMap() for _ in self.sizes]
        self.settled.start_copy(None)
        self._touched = {}

    def close(self) -> None:
        """Closes the file and keeps it."""
        if self._log is not None:
            self._log.close()
            self._log = None


def _record(kind: IntentKind, volume: int, a: int, b: int, payload: bytes) -> bytes:
    return records.header(kind, volume, a, b, payload) + payload
