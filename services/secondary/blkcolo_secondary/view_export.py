"""The view of one volume as an NBD export."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from blkcolo_secondary.buffer.allocation import allocation

if TYPE_CHECKING:
    import asyncio

    from blkcolo.nbd.export import AllocationExtent
    from blkcolo.stream import VolumeId
    from blkcolo_secondary.runtime.group import ReplicaGroup


class ViewExport:
    """What a reader of the secondary sees; writable for a Secondary VM.

    See `blkcolo.nbd.export.Export`.
    """

    #: Writes that came together go one by one.
    write_each = None

    def __init__(self, group: ReplicaGroup, volume: int) -> None:
        """Serves volume number `volume` of the group."""
        self._group = group
        self._buffer = group.replica.buffer
        self._volume = volume

    @property
    def _id(self) -> VolumeId:
        return self._group.replica.volumes[self._volume]

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

    def opened(self) -> None:
        """A client chose the export."""

    def closed(self) -> None:
        """It is gone."""

    def admit(self, offset: int, length: int) -> asyncio.Future[None] | None:
        """Waits until the write's mark is durable, where power loss is to be survived.

        The view itself never waits.
        """
        return self._group.writes.admit(self._volume, offset, length)

    def read_into(self, offset: int, target: memoryview) -> None:
        """Reads the view."""
        self._buffer.read_into(self._volume, offset, target)

    def write(
        self, offset: int, data: memoryview, *, fua: bool
    ) -> asyncio.Future[None] | None:
        """Writes into the overlay, or to the disk once it is failed over."""
        self._prepare(offset, len(data))
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
        self._prepare(offset, length)
        self._buffer.zero(self._volume, offset, length, may_trim=may_trim)
        return self.flush() if fua else None

    def trim(
        self, offset: int, length: int, *, fua: bool
    ) -> asyncio.Future[None] | None:
        """As zero, freeing the space."""
        return self.zero(offset, length, may_trim=True, fast=False, fua=fua)

    def flush(self) -> asyncio.Future[None] | None:
        """Makes disk and overlay durable."""
        return self._group.sync()

    def _prepare(self, offset: int, length: int) -> None:
        """The state may have changed since the client negotiated."""
        if not self._group.writable:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        self._group.writes.intend(self._volume, offset, length)

    def allocation(self, offset: int, length: int) -> list[AllocationExtent]:
        """Describes the view."""
        return allocation(self._buffer, self._volume, offset, length)
