"""Regions: what a bit of the intent log stands for, and how they lie in a volume."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyroaring import BitMap

from blkcolo.extents import BLOCK_SIZE, Extent

if TYPE_CHECKING:
    from collections.abc import Iterator

#: A region is at least this long, in bytes.
SMALLEST_REGION = 64 << 10
#: A volume has at most about this many regions where the size is chosen for it.
_MOST_REGIONS = 1 << 20


def region_size_for(largest_volume: int) -> int:
    """The default size of a region, in bytes, by the size of the largest volume."""
    size = SMALLEST_REGION
    while largest_volume // size > _MOST_REGIONS:
        size *= 2
    return size


def runs(bitmap: BitMap) -> Iterator[tuple[int, int]]:
    """The runs [first, end) of a bitmap's regions."""
    first = end = -1
    for region in bitmap:
        if region != end:
            if end > first:
                yield first, end
            first = region
        end = region + 1
    if end > first:
        yield first, end


def extents_of(bitmap: BitMap, size: int, shift: int) -> Iterator[Extent]:
    """The extents of a bitmap's regions in a volume of `size` bytes, in order.

    Args:
        bitmap: the regions.
        size: the volume's size in bytes; the last region may be cut by it.
        shift: a region is 1 << shift bytes.
    """
    for first, end in runs(bitmap):
        start = first << shift
        yield Extent(start, min(end << shift, size) - start)


def bytes_of(bitmap: BitMap, size: int, shift: int) -> int:
    """Bytes of a bitmap's regions; arguments as of `extents_of`."""
    last = (size - 1) >> shift
    cut = ((last + 1) << shift) - size if last in bitmap else 0
    return (len(bitmap) << shift) - cut


def covering_blocks(blocks: BitMap, shift: int) -> BitMap:
    """The regions that have at least one of these blocks of 4 KiB."""
    shift -= BLOCK_SIZE.bit_length() - 1
    regions = BitMap()
    last = blocks.max() if blocks else -1
    block = blocks.min() if blocks else 0
    while block <= last:
        regions.add(block >> shift)
        following = ((block >> shift) + 1) << shift
        block = blocks.next_set_bit(following) if following <= last else following
    return regions
