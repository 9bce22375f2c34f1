"""Extents in bytes and the 4 KiB blocks that cover them."""

from __future__ import annotations

from typing import NamedTuple

from blkcolo.errors import Invalid, Reason

#: The granularity of saving and of the overlay, in bytes.
BLOCK_SIZE = 4096


class Extent(NamedTuple):
    """Bytes [offset, offset + length) of a volume."""

    offset: int
    length: int

    @property
    def end(self) -> int:
        """The first byte behind the extent."""
        return self.offset + self.length


class Blocks(NamedTuple):
    """Blocks [first, end) of a volume; the last one may be cut by its size."""

    first: int
    end: int

    def extent(self, size: int) -> Extent:
        """The bytes of these blocks in a volume of `size` bytes."""
        start = self.first * BLOCK_SIZE
        return Extent(start, min(self.end * BLOCK_SIZE, size) - start)


def covering(offset: int, length: int) -> Blocks:
    """The blocks that hold at least one byte of the extent."""
    return Blocks(offset // BLOCK_SIZE, -(-(offset + length) // BLOCK_SIZE))


def check_extent(volume: str, size: int, offset: int, length: int) -> None:
    """Raises Invalid unless the extent is not empty and within the volume."""
    if length <= 0 or offset < 0 or offset + length > size:
        raise Invalid(
            Reason.OUT_OF_RANGE,
            f"volume {volume}: extent {offset}+{length} is not within its"
            f" {size} bytes; compare the sizes of both sides",
            volume,
            offset,
        )
