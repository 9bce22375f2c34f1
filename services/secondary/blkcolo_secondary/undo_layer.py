"""One epoch's undo layer: the old content of the blocks it overwrote.

An append-only log (framing: `blkcolo.records`) and one `BlockIndex` a volume. A
record is a run of blocks: DATA with their old bytes as payload, or HOLE when they
read as zeros and were not allocated. What the layer holds is never overwritten, and
a block is saved once, before its first overwrite in the epoch.

    record kind | a               | b                   | payload
    DATA        | offset in bytes | length in bytes     | old bytes
    HOLE        | offset in bytes | length in bytes     | none
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from blkcolo import records
from blkcolo.extents import BLOCK_SIZE, Blocks, Extent, covering
from blkcolo_secondary.block_index import HOLE, BlockIndex, Run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from blkcolo.files import BlockFile
    from blkcolo.records import RecordLog

#: A record holds at most this many blocks, so a save is at most 1 MiB.
RUN_BLOCKS = (1 << 20) // BLOCK_SIZE


class UndoKind(enum.IntEnum):
    """Record kinds of an undo layer."""

    DATA = 1
    HOLE = 2


class UndoLayer:
    """The undo log of one epoch over all volumes of the group."""

    def __init__(self, log: RecordLog, sizes: Sequence[int]) -> None:
        """Starts empty.

        Args:
            log: the log.
            sizes: the volumes' sizes in bytes, by index.
        """
        self._log = log
        self._sizes = sizes
        self._indexes = [BlockIndex() for _ in sizes]

    def load(self) -> None:
        """Reads the log back; a torn tail is cut, damage raises DataLoss."""
        for record in self._log.load():
            blocks = covering(record.a, record.b)
            position = HOLE if record.kind == UndoKind.HOLE else record.position
            self._indexes[record.volume].add(Run(*blocks, position))

    @property
    def bytes_held(self) -> int:
        """The log's length in bytes."""
        return self._log.end

    def missing(self, volume: int, blocks: Blocks) -> Iterator[Blocks]:
        """The runs of `blocks` that this epoch has not saved yet."""
        return self._indexes[volume].missing(blocks)

    def holds_any(self, volume: int, blocks: Blocks) -> bool:
        """True if a block of these is saved here."""
        saved = self._indexes[volume].saved
        return bool(saved.range_cardinality(blocks.first, blocks.end))

    def find(self, volume: int, blocks: Blocks) -> list[Run]:
        """The saved runs that overlap `blocks`, cut to them, in order."""
        found = self._indexes[volume].find(blocks)
        return [run.cut(blocks, BLOCK_SIZE) for run in found]

    def save(self, disks: Sequence[BlockFile], wanted: Sequence[SaveRun]) -> None:
        """Appends the current content of `wanted`, in one write.

        Each must be missing here, and none may overlap another. When this raises
        OSError nothing was added.
        """
        log = bytearray(self._log.lead())
        added: list[tuple[int, Run]] = []
        for volume, blocks in wanted:
            size = self._sizes[volume]
            for part, is_data in _split_holes(disks[volume], blocks, size):
                extent = part.extent(size)
                position = HOLE
                if is_data:
                    data = bytearray(extent.length)
                    disks[volume].read_into(extent.offset, memoryview(data))
                    payload = bytes(data)
                    log += records.header(UndoKind.DATA, volume, *extent, payload)
                    position = self._log.end + len(log)
                    log += payload
                else:
                    log += records.header(UndoKind.HOLE, volume, *extent)
                added.append((volume, Run(*part, position)))
        self._log.append(log)
        for volume, run in added:
            self._indexes[volume].add(run)

    def sync(self) -> None:
        """Makes what was saved durable; any thread; raises OSError."""
        self._log.sync()

    def read_into(self, run: Run, skipped: int, target: memoryview) -> None:
        """Reads the saved content of `run` from its byte `skipped` on."""
        if run.position == HOLE:
            target[:] = bytes(len(target))
        else:
            self._log.read_into(run.position + skipped, target)

    def contents(self) -> Iterator[tuple[int, Extent, Run]]:
        """Everything saved: volume, extent in bytes, run."""
        for volume, index in enumerate(self._indexes):
            for run in index.runs():
                yield (
                    volume,
                    Blocks(run.first, run.end).extent(self._sizes[volume]),
                    run,
                )

    def close(self) -> None:
        """Closes the log's file."""
        self._log.close()


#: A volume's index and blocks of it that are to be saved.
SaveRun = tuple[int, Blocks]


def _split_holes(
    disk: BlockFile, blocks: Blocks, size: int
) -> Iterator[tuple[Blocks, bool]]:
    """Cuts blocks into parts with data and holes, none longer than RUN_BLOCKS."""
    gap = blocks.first
    for data in disk.data_extents(*blocks.extent(size)):
        # A file system with smaller blocks may start data in the middle of one.
        first, end = covering(*data)
        first = max(first, gap)
        if first > gap:
            yield Blocks(gap, first), False
        for start in range(first, end, RUN_BLOCKS):
            yield Blocks(start, min(start + RUN_BLOCKS, end)), True
        gap = max(gap, end)
    if gap < blocks.end:
        yield Blocks(gap, blocks.end), False
