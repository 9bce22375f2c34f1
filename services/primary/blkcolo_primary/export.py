"""The VM's disk as an NBD export."""

from __future__ import annotations

import errno
import os
from functools import partial
from typing import TYPE_CHECKING

from blkcolo.nbd.export import allocation_of

if TYPE_CHECKING:
    import asyncio

    from blkcolo.nbd.export import AllocationExtent, WriteEach
    from blkcolo.storage.posix_files import PosixFile
    from blkcolo.stream import VolumeId
    from blkcolo_primary.runtime.group import ForwardGroup


class DiskExport:
    """One volume of a group; see `blkcolo.nbd.export.Export`."""

    def __init__(self, group: ForwardGroup, volume: int, disk: PosixFile) -> None:
        """Serves volume number `volume`, whose image is `disk`."""
        self._group = group
        self._volume = volume
        self._disk = disk
        writes = group.vm_writes
        self.write_each: WriteEach | None = (
            partial(writes.write_each, volume) if writes.takes_bursts else None
        )

    @property
    def _id(self) -> VolumeId:
        return self._group.volumes[self._volume]

    @property
    def name(self) -> str:
        """The volume's name."""
        return self._id.name

    @property
    def description(self) -> str:
        """A sentence for people."""
        return f"volume {self._id.name} of group {self._group.name}, primary"

    @property
    def size(self) -> int:
        """The size in bytes."""
        return self._id.size

    @property
    def read_only(self) -> bool:
        """Never: a fenced primary refuses each write."""
        return False

    def opened(self) -> None:
        """A client chose the export."""

    def closed(self) -> None:
        """It is gone."""

    def admit(self, offset: int, length: int) -> asyncio.Future[None] | None:
        """Waits while the in-flight window is full, or the group is frozen."""
        return self._group.vm_writes.admit(self._volume, offset, length)

    def read_into(self, offset: int, target: memoryview) -> None:
        """Reads the local disk."""
        self._group.vm_writes.served[self._volume] += len(target)
        self._disk.read_into(offset, target)

    def write(
        self, offset: int, data: memoryview, *, fua: bool
    ) -> asyncio.Future[None] | None:
        """Writes the local disk and forwards."""
        return self._group.vm_writes.write(self._volume, offset, data, fua=fua)

    def zero(
        self, offset: int, length: int, *, may_trim: bool, fast: bool, fua: bool
    ) -> asyncio.Future[None] | None:
        """Zeroes the local disk and forwards."""

        def work() -> None:
            if self._disk.zero_fast(offset, length, may_trim=may_trim):
                return
            if fast:
                raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
            self._disk.zero(offset, length, may_trim=may_trim)

        return self._group.vm_writes.zero(
            self._volume, offset, length, work, trim=may_trim, fua=fua
        )

    def trim(
        self, offset: int, length: int, *, fua: bool
    ) -> asyncio.Future[None] | None:
        """Frees space on the local disk and forwards."""
        return self.zero(offset, length, may_trim=True, fast=False, fua=fua)

    def flush(self) -> asyncio.Future[None] | None:
        """Makes what was answered durable."""
        return self._group.vm_writes.flush(self._volume)

    def allocation(self, offset: int, length: int) -> list[AllocationExtent]:
        """Describes the local disk."""
        found = self._disk.data_extents(offset, length)
        return allocation_of(found, offset, length)
