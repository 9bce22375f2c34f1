"""Records of a batch, taken so that their old content is saved by one append.

The order is the heart of the Disk Buffer: save, make that durable where power loss is
to be survived, and only then write. What a step gathers is saved as one set of blocks
before the first of it is written, so writes that share a block need no care.

Columns instead of an object a record: tens of thousands of them come each second.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from pyroaring import BitMap

from blkcolo.errors import from_os_error, translated
from blkcolo.extents import BLOCK_SIZE
from blkcolo.stream import RecordKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from blkcolo.storage.files import BlockFile
    from blkcolo.stream import Batch, VolumeId
    from blkcolo_secondary.buffer.undo_layer import UndoLayer

#: Bytes gathered before they are saved and written.
STEP_BYTES = 1 << 20
#: One step of a long zero or trim, in bytes.
LONGEST_ZERO = 8 << 20
#: So many parts of long zeros and trims are looked at together.
_PARTS = 256
_DATA, _TRIM = int(RecordKind.DATA), int(RecordKind.TRIM)


#: Kind, volume, offset and length.
_Row = tuple[int, int, int, int]


class Sync(NamedTuple):
    """An effect: something is to be made durable before the next step.

    `run` may be called on any thread; it raises OSError or BlkcoloError.
    """

    run: Callable[[], None]


class Columns(NamedTuple):
    """Records in order; record i is the i-th of each.

    Bytes [position, position + length) of the payload are the data of one.
    """

    kinds: NDArray[np.int64]
    volumes: NDArray[np.int64]
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]
    positions: NDArray[np.int64]

    @property
    def payload_end(self) -> int:
        """Where the data of the last record ends in the payload."""
        length = self.lengths[-1] if self.kinds[-1] == _DATA else 0
        return int(self.positions[-1] + length)

    def part(self, start: int, end: int) -> Columns:
        """Records [start, end)."""
        return Columns(*(column[start:end] for column in self))

    def steps(self, step_bytes: int) -> Iterator[Columns]:
        """The same, in portions that are saved and written together."""
        ends, start = self.lengths.cumsum(), 0
        while start < len(ends):
            most = ends[start] - self.lengths[start] + step_bytes
            end = max(start + 1, int(ends.searchsorted(most, "right")))
            yield self.part(start, end).joined()
            start = end

    def joined(self) -> Columns:
        """Data that goes on from the record before it joins that."""
        kinds, volumes, offsets, lengths, _ = self
        goes_on = (
            (kinds[1:] == _DATA)
            & (kinds[:-1] == _DATA)
            & (volumes[1:] == volumes[:-1])
            & (offsets[1:] == offsets[:-1] + lengths[:-1])
        )
        if not goes_on.any():
            return self
        first = np.concatenate(([0], np.flatnonzero(~goes_on) + 1))
        joined = Columns(*(column[first] for column in self))
        return joined._replace(lengths=np.add.reduceat(lengths, first))

    def touched(self, volume_count: int) -> list[BitMap]:
        """The blocks of each volume that they overwrite."""
        firsts = self.offsets // BLOCK_SIZE
        ends = -(-(self.offsets + self.lengths) // BLOCK_SIZE)
        found = []
        for volume in range(volume_count):
            mine = self.volumes == volume
            single = mine & (ends - firsts == 1)
            blocks = BitMap(firsts[single].astype(np.uint32))
            longer = mine & ~single
            for first, end in zip(
                firsts[longer].tolist(), ends[longer].tolist(), strict=True
            ):
                blocks.add_range(first, end)
            found.append(blocks)
        return found


def steps(batch: Batch, step_bytes: int = STEP_BYTES) -> Iterator[Columns]:
    """The records of a batch, in portions that are saved and written together.

    Long zeros and trims come in parts, and few at a time: a record may be as long as a
    volume.
    """
    columns = (batch.kinds, batch.volumes, batch.offsets, batch.lengths)
    if max(batch.lengths, default=0) <= LONGEST_ZERO:
        yield from _columns(*columns, 0).steps(step_bytes)
        return
    rows, position = _cut(zip(*columns, strict=True)), 0
    while portion := list(islice(rows, _PARTS)):
        kinds, volumes, offsets, lengths = zip(*portion, strict=True)
        some = _columns(kinds, volumes, offsets, lengths, position)
        yield from some.steps(step_bytes)
        position = some.payload_end


def _columns(
    kinds: Sequence[int],
    volumes: Sequence[int],
    offsets: Sequence[int],
    lengths: Sequence[int],
    position: int,
) -> Columns:
    """Records whose data begins at byte `position` of the payload."""
    arrays = (np.array(c, np.int64) for c in (kinds, volumes, offsets, lengths))
    kind, volume, offset, length = arrays
    data = np.where(kind == _DATA, length, 0)
    return Columns(kind, volume, offset, length, position + data.cumsum() - data)


def _cut(rows: Iterable[_Row]) -> Iterator[_Row]:
    for kind, volume, offset, length in rows:
        longest = length if kind == _DATA else LONGEST_ZERO
        for start in range(offset, offset + length, longest):
            yield kind, volume, start, min(longest, offset + length - start)


class SaveAndWrite:
    """One step of a batch, on its way to the disk."""

    def __init__(
        self,
        disks: Sequence[BlockFile],
        volumes: Sequence[VolumeId],
        payload: memoryview,
        records: Columns,
    ) -> None:
        """Nothing is done yet.

        Args:
            disks: the group's disks.
            volumes: its volumes.
            payload: the batch's data.
            records: those of the step.
        """
        self._disks = disks
        self._volumes = volumes
        self._payload = payload
        self._records = records

    def save(self, layer: UndoLayer | None) -> UndoLayer | None:
        """Saves old content; the layer, if anything was saved.

        Args:
            layer: where it goes; without one nothing is saved.

        Raises:
            BlkcoloError: the log or the disk refused; nothing was written.
        """
        if layer is None:
            return None
        touched = self._records.touched(len(self._volumes))
        name = self._volumes[int(self._records.volumes[0])].name
        with translated("saving old content", name, int(self._records.offsets[0])):
            return layer if layer.save(self._disks, touched) else None

    def write(self) -> None:
        """Writes what was gathered, in order.

        Raises:
            BlkcoloError: the disk refused; what was overwritten is saved.
        """
        volume = offset = 0
        rows = zip(*(column.tolist() for column in self._records), strict=True)
        try:
            for kind, volume, offset, length, position in rows:
                disk = self._disks[volume]
                if kind == _DATA:
                    disk.write(offset, self._payload[position : position + length])
                else:
                    disk.zero(offset, length, may_trim=kind == _TRIM)
        except OSError as error:
            name = self._volumes[volume].name
            raise from_os_error(error, "writing the disk", name, offset) from error
