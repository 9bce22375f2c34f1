"""Which parts of the view are data and which are holes, for NBD block status."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blkcolo.nbd.export import Allocation, AllocationExtent, allocation_of
from blkcolo_secondary.buffer import view
from blkcolo_secondary.buffer.block_index import HOLE
from blkcolo_secondary.buffer.view import Source

if TYPE_CHECKING:
    from blkcolo_secondary.buffer.disk_buffer import DiskBuffer

#: One answer describes at most this many bytes; clients ask on.
_DESCRIBE_BYTES = 64 << 20
_ZERO = Allocation.HOLE | Allocation.ZERO


def allocation(
    buffer: DiskBuffer, volume: int, offset: int, length: int, at: int | None = None
) -> list[AllocationExtent]:
    """Describes an extent of the view, or of a kept checkpoint; from its start."""
    length = min(length, _DESCRIBE_BYTES)
    size = buffer.volumes[volume].size
    extents: list[AllocationExtent] = []
    for segment in buffer.segments(volume, offset, length, at):
        start, end = view.part(segment, offset, length, size)
        found = _describe(buffer, volume, segment, start, end)
        extents.extend(found)
        if sum(extent.length for extent in found) < end - start:
            break
    return extents


def _describe(
    buffer: DiskBuffer, volume: int, segment: view.Segment, start: int, end: int
) -> list[AllocationExtent]:
    if segment.source is Source.DISK:
        data = buffer.disks[volume].data_extents(start, end - start)
        return allocation_of(data, start, end - start)
    if segment.source is Source.UNDO:
        is_hole = segment.run is not None and segment.run.position == HOLE
    else:
        overlay = buffer.overlays[volume]
        is_hole = overlay is not None and overlay.is_hole(start, end - start)
    return [AllocationExtent(end - start, _ZERO if is_hole else Allocation.DATA)]
