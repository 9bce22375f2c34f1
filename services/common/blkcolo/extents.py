"""Extents in bytes and the 4 KiB blocks that cover them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from blkcolo.errors import Invalid, Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

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


def coarsened(extents: Sequence[Extent], most: int, size: int) -> list[Extent]:
    """At most `most` extents that cover these: more bytes, never fewer.

    Args:
        extents: in order, without overlaps.
        most: 1 or more.
        size: of the volume, in bytes.
    """
    grain = BLOCK_SIZE
    found = list(extents)
    while len(found) > most:
        grain *= 2
        wide: list[Extent] = []
        for extent in found:
            start = extent.offset // grain * grain
            end = min(-(-extent.end // grain) * grain, size)
            if wide and start <= wide[-1].end:
                start = wide.pop().offset
            wide.append(Extent(start, end - start))
        found = wide
    return found


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
