"""One epoch's undo layer: the old content of the blocks it overwrote.

An append-only log (framing: `blkcolo.storage.records`) and one `BlockIndex` a volume.
What the layer holds is never overwritten, and a block is saved once, before its first
overwrite in the epoch. A record holds all that one save found in one volume:

    record kind | a              | b    | payload
    SAVED       | number of runs | 0    | table of the runs, then their old bytes

A row of the table is a run of blocks, little-endian: first u32, end u32, stored u32.
The bytes of the stored runs follow in the table's order, in whole blocks, the last
one of the volume padded with zeros. A run that is not stored read as zeros.

Where a sync failed, the bytes behind the last one may be lost. Their blocks count as
not saved: they were never overwritten, since a write waits for the sync.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import numpy as np

from blkcolo.extents import BLOCK_SIZE, Blocks, Extent, covering
from blkcolo.storage import records
from blkcolo_secondary.buffer import saved_runs
from blkcolo_secondary.buffer.block_index import HOLE, BlockIndex

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from pyroaring import BitMap

    from blkcolo.errors import DataLoss
    from blkcolo.storage.files import BlockFile
    from blkcolo.storage.records import Progress, Record, RecordLog
    from blkcolo_secondary.buffer.block_index import Run


class UndoKind(enum.IntEnum):
    """Record kinds of an undo layer."""

    SAVED = 1


class UndoLayer:
    """The undo log of one epoch over all volumes of the group."""

    def __init__(
        self,
        log: RecordLog,
        sizes: Sequence[int],
        elsewhere: Sequence[BitMap] | None = None,
    ) -> None:
        """Starts empty.

        Args:
            log: the log.
            sizes: the volumes' sizes in bytes, by index.
            elsewhere: blocks of each volume that an older layer holds, which is never
                dropped before this one; see `layer_stack`.
        """
        self._log = log
        self._sizes = sizes
        self._elsewhere = elsewhere
        self._indexes = [BlockIndex() for _ in sizes]

    def load(self, progress: Progress | None) -> None:
        """Reads the log back; a torn tail is cut, damage raises DataLoss."""
        for record in self._log.load(progress):
            if record.kind != UndoKind.SAVED or record.volume >= len(self._sizes):
                raise self._foreign(record)
            table = bytearray(saved_runs.ROW.itemsize * record.a)
            self._log.read_into(record.position, memoryview(table))
            rows = np.frombuffer(table, saved_runs.ROW)
            data_at = record.position + len(table)
            blocks = covering(0, self._sizes[record.volume]).end
            if not saved_runs.fit(rows, blocks, record.payload_length):
                raise self._foreign(record)
            self._indexes[record.volume].add(saved_runs.positions(rows, data_at))

    def _foreign(self, record: Record) -> DataLoss:
        """What is intact may still belong to other volumes than the configured."""
        return self._log.damage(
            record.position - records.HEADER_SIZE,
            f"a record of kind {record.kind} for volume number {record.volume} does"
            f" not fit into the {len(self._sizes)} volumes of the configuration",
        )

    @property
    def bytes_held(self) -> int:
        """The log's length in bytes."""
        return self._log.end

    @property
    def whole(self) -> bool:
        """False where some of what was saved may be lost: a sync failed."""
        return self._log.lost_from is None

    @property
    def whole_bytes(self) -> int:
        """Bytes of the log before the first one that may be lost."""
        lost = self._log.lost_from
        return self._log.end if lost is None else min(lost, self._log.end)

    def saved_blocks(self, volume: int) -> BitMap:
        """The blocks that are saved here."""
        return self._indexes[volume].saved

    def holds_any(self, volume: int, blocks: Blocks) -> bool:
        """True if a block of these is saved here."""
        saved = self._indexes[volume].saved
        return bool(saved.range_cardinality(blocks.first, blocks.end))

    def find(self, volume: int, blocks: Blocks) -> list[Run]:
        """The saved runs that overlap `blocks`, cut to them, in order."""
        found = self._indexes[volume].find(blocks)
        lost = self._log.lost_from
        if lost is not None:
            found = [run for run in found if run.position < lost]
        return [run.cut(blocks, BLOCK_SIZE) for run in found]

    def save(self, disks: Sequence[BlockFile], touched: Sequence[BitMap]) -> bool:
        """Appends what blocks hold that are not saved yet, in one write.

        When this raises OSError nothing was added.

        Args:
            disks: the volumes' disks.
            touched: blocks of each volume that are about to be overwritten.

        Returns:
            True if anything was appended.
        """
        parts: list[bytes | memoryview] = [self._log.lead()]
        end = self._log.end + len(parts[0])
        added: list[tuple[int, NDArray[np.int64]]] = []
        for volume, blocks in enumerate(touched):
            if not blocks:
                continue
            missing = blocks - self._indexes[volume].saved
            if self._elsewhere is not None:
                missing -= self._elsewhere[volume]
            if not missing:
                continue
            rows, data = saved_runs.read(disks[volume], missing, self._sizes[volume])
            table = rows.tobytes()
            head = records.header(UndoKind.SAVED, volume, len(rows), 0, table, data)
            parts += (head, table, data)
            data_at = end + len(head) + len(table)
            added.append((volume, saved_runs.positions(rows, data_at)))
            end = data_at + len(data)
        if not added:
            return False
        self._log.append(*parts)
        for volume, positions in added:
            self._indexes[volume].add(positions)
        return True

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
        lost = self._log.lost_from
        for volume, index in enumerate(self._indexes):
            for run in index.runs():
                if lost is not None and run.position >= lost:
                    continue
                yield (
                    volume,
                    Blocks(run.first, run.end).extent(self._sizes[volume]),
                    run,
                )

    def close(self) -> None:
        """Closes the log's file."""
        self._log.close()
