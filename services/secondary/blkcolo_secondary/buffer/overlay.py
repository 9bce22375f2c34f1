"""The overlay: the Secondary VM's writes, above everything and never on the disk.

One sparse file a volume with the disk's own geometry, so a rewrite costs no space, and
a bitmap of the blocks that are in it. The bitmap's changes are a log (framing:
`blkcolo.storage.records`, a = first block, b = end block), written after the bytes: a
block counts only when its bytes are there; with `host`, only when they are durable.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from pyroaring import BitMap

from blkcolo.extents import BLOCK_SIZE, Blocks
from blkcolo_secondary.buffer.block_index import absent, present

if TYPE_CHECKING:
    from collections.abc import Iterator

    from blkcolo.storage.files import BlockFile
    from blkcolo.storage.records import RecordLog


class MarkKind(enum.IntEnum):
    """Record kinds of an overlay's log."""

    PRESENT = 1
    GONE = 2


class Overlay:
    """The written blocks of one volume."""

    def __init__(self, data: BlockFile, marks: RecordLog, *, host: bool) -> None:
        """Starts empty.

        Args:
            data: the bytes.
            marks: the bitmap's log.
            host: power loss is to be survived.
        """
        self.blocks = BitMap()
        self._data = data
        self._marks = marks
        self._host = host

    def load(self) -> None:
        """Reads the bitmap back; a torn tail is cut, damage raises DataLoss."""
        for record in self._marks.load():
            if record.kind == MarkKind.PRESENT:
                self.blocks.add_range(record.a, record.b)
            else:
                self.blocks.remove_range(record.a, record.b)

    @property
    def bytes_held(self) -> int:
        """The Secondary VM's bytes, in whole blocks."""
        return len(self.blocks) * BLOCK_SIZE

    def present(self, blocks: Blocks) -> Iterator[Blocks]:
        """The runs of `blocks` that are in the overlay."""
        return present(self.blocks, blocks)

    def absent(self, blocks: Blocks) -> Iterator[Blocks]:
        """The runs of `blocks` that are not."""
        return absent(self.blocks, blocks)

    def read_into(self, offset: int, target: memoryview) -> None:
        """Reads bytes of blocks that are present."""
        self._data.read_into(offset, target)

    def write(self, offset: int, data: memoryview | bytes | bytearray) -> None:
        """Writes bytes; `mark` makes their blocks count."""
        self._data.write(offset, data)

    def zero(self, offset: int, length: int) -> None:
        """Zeroes bytes; `mark` makes their blocks count."""
        self._data.zero(offset, length, may_trim=True)

    def is_hole(self, offset: int, length: int) -> bool:
        """True if nothing is stored for the bytes: they are zeros."""
        return next(iter(self._data.data_extents(offset, length)), None) is None

    def mark(self, blocks: Blocks) -> None:
        """Makes blocks present."""
        if self.blocks.range_cardinality(*blocks) == blocks.end - blocks.first:
            return
        if self._host:
            self._data.sync()
        self._marks.add(MarkKind.PRESENT, *blocks)
        self.blocks.add_range(*blocks)

    def settle(self, disk: BlockFile, size: int, blocks: Blocks) -> None:
        """Moves blocks to the disk of `size` bytes; raises OSError.

        They leave the overlay only when their bytes are on the disk, so that a crash
        between the two repeats the move.
        """
        self.copy_to(disk, size, blocks)
        if self._host:
            disk.sync()
        for run in list(self.present(blocks)):
            self.forget(run)

    def copy_to(self, disk: BlockFile, size: int, blocks: Blocks) -> None:
        """Writes those of `blocks` that are present to the disk; raises OSError."""
        for run in self.present(blocks):
            extent = run.extent(size)
            if self.is_hole(*extent):
                disk.zero(*extent, may_trim=True)
            else:
                content = bytearray(extent.length)
                self.read_into(extent.offset, memoryview(content))
                disk.write(extent.offset, content)

    def forget(self, blocks: Blocks) -> None:
        """Takes blocks out: their bytes are on the disk now."""
        self._marks.add(MarkKind.GONE, *blocks)
        self.blocks.remove_range(*blocks)

    def sync(self) -> None:
        """Makes bytes and bitmap durable."""
        self._data.sync()
        self._marks.sync()

    def close(self) -> None:
        """Closes both files."""
        self._data.close()
        self._marks.close()
