"""The view of one volume as an NBD export."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from blkcolo.nbd.export import Allocation, AllocationExtent
from blkcolo_secondary import view
from blkcolo_secondary.block_index import HOLE
from blkcolo_secondary.view import Source

if TYPE_CHECKING:
    import asyncio

    from blkcolo_secondary.group import ReplicaGroup

#: One answer describes at most this many bytes; clients ask on.
_DESCRIBE_BYTES = 64 << 20


class ViewExport:
    """What a reader of the secondary sees; writable for a Secondary VM.

    See `blkcolo.nbd.export.Export`.
    """

    def __init__(self, group: ReplicaGroup, volume: int) -> None:
        """Serves volume number `volume` of the group."""
        self._group = group
        self._buffer = group.replica.buffer
        self._volume = volume
        self._id = group.replica.volumes[volume]

    @property
    def name(self) -> str:
        """The volume's name."""
        return self._id.name

    @property
    def description(self) -> str:
        """A sentence for people."""
        return f"volume {self._id.name} of group {self._group.replica.group}, secondary"

    @property
    def size(self) -> int:
        """The size in bytes."""
        return self._id.size

    @property
    def read_only(self) -> bool:
        """False with a Secondary VM, and after failover."""
        return not self._group.writable

    def writable_now(self) -> asyncio.Future[None] | None:
        """The view never waits."""
        return None

    def read_into(self, offset: int, target: memoryview) -> None:
        """Reads the view."""
        self._buffer.read_into(self._volume, offset, target)

    def write(
        self, offset: int, data: memoryview, *, fua: bool
    ) -> asyncio.Future[None] | None:
        """Writes into the overlay, or to the disk once it is failed over."""
        self._check_writable()
        self._buffer.write(self._volume, offset, data)
        return self.flush() if fua else None

    def zero(
        self,
        offset: int,
        length: int,
        *,
        may_trim: bool,
        fast: bool,  # noqa: ARG002 - zeroing is fast: a hole in a sparse file
        fua: bool,
    ) -> asyncio.Future[None] | None:
        """Zeroes in the overlay, or on the disk once it is failed over."""
        self._check_writable()
        self._buffer.zero(self._volume, offset, length, may_trim=may_trim)
        return self.flush() if fua else None

    def trim(
        self, offset: int, length: int, *, fua: bool
    ) -> asyncio.Future[None] | None:
        """As zero, freeing the space."""
        return self.zero(offset, length, may_trim=True, fast=False, fua=fua)

    def flush(self) -> asyncio.Future[None] | None:
        """Makes disk and overlay durable."""
        return self._group.run_slow(self._buffer.sync)

    def _check_writable(self) -> None:
        """The state may have changed since the client negotiated."""
        if not self._group.writable:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    def allocation(self, offset: int, length: int) -> list[AllocationExtent]:
        """Describes the view."""
        length = min(length, _DESCRIBE_BYTES)
        extents: list[AllocationExtent] = []
        for segment in self._buffer.segments(self._volume, offset, length):
            start, end = view.part(segment, offset, length, self.size)
            extents.extend(self._describe(segment, start, end))
        return extents

    def _describe(
        self, segment: view.Segment, start: int, end: int
    ) -> list[AllocationExtent]:
        zero, data = Allocation.HOLE | Allocation.ZERO, Allocation.DATA
        if segment.source is Source.UNDO:
            is_hole = segment.run is not None and segment.run.position == HOLE
            return [AllocationExtent(end - start, zero if is_hole else data)]
        if segment.source is Source.OVERLAY:
            overlay = self._buffer.overlays[self._volume]
            is_hole = overlay is not None and overlay.is_hole(start, end - start)
            return [AllocationExtent(end - start, zero if is_hole else data)]
        extents: list[AllocationExtent] = []
        at = start
        for found in self._buffer.disks[self._volume].data_extents(start, end - start):
            if found.offset > at:
                extents.append(AllocationExtent(found.offset - at, zero))
            extents.append(AllocationExtent(found.length, data))
            at = found.end
        if at < end:
            extents.append(AllocationExtent(end - at, zero))
        return extents
