"""A kept checkpoint of one volume as a read-only NBD export, `volume@epoch`."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Never

from blkcolo_secondary.buffer.allocation import allocation

if TYPE_CHECKING:
    import asyncio

    from blkcolo.nbd.export import AllocationExtent
    from blkcolo_secondary.runtime.group import ReplicaGroup


def checkpoint_name(volume: str, epoch: int) -> str:
    """The export's name."""
    return f"{volume}@{epoch}"


def split_name(name: str) -> tuple[str, int]:
    """An export's volume and epoch.

    Raises:
        KeyError: it is not the name of a checkpoint.
    """
    volume, at, epoch = name.rpartition("@")
    if not at or not (epoch.isascii() and epoch.isdigit()):
        raise KeyError(name)
    return volume, int(epoch)


class CheckpointExport:
    """One volume as it was at one checkpoint; see `blkcolo.nbd.export.Export`.

    The checkpoint is kept as long as a client has it open. A failover takes it away:
    reads then fail with ESHUTDOWN.
    """

    read_only = True

    #: Each write is refused by itself.
    write_each = None

    def __init__(self, group: ReplicaGroup, volume: int, epoch: int) -> None:
        """Serves volume number `volume` of the group at checkpoint `epoch`."""
        self._replica = group.replica
        self._volume = volume
        self._epoch = epoch
        self._id = group.replica.volumes[volume]

    @property
    def name(self) -> str:
        """The volume's name and the epoch."""
        return checkpoint_name(self._id.name, self._epoch)

    @property
    def description(self) -> str:
        """A sentence for people."""
        return f"volume {self._id.name} at checkpoint {self._epoch}, read-only"

    @property
    def size(self) -> int:
        """The size in bytes."""
        return self._id.size

    def opened(self) -> None:
        """A client chose the export."""
        self._replica.checkpoints.open_reader(self._epoch)

    def closed(self) -> None:
        """It is gone."""
        self._replica.checkpoints.close_reader(self._epoch)

    def _check(self) -> None:
        if all(
            kept.epoch != self._epoch for kept in self._replica.checkpoints.available
        ):
            raise OSError(errno.ESHUTDOWN, os.strerror(errno.ESHUTDOWN))

    def admit(self, offset: int, length: int) -> asyncio.Future[None] | None:
        """Nothing is written here."""
        del offset, length
        return None

    def read_into(self, offset: int, target: memoryview) -> None:
        """Reads the checkpoint."""
        self._check()
        buffer = self._replica.buffer
        buffer.read_into(self._volume, offset, target, at=self._epoch)

    def write(self, offset: int, data: memoryview, *, fua: bool) -> Never:
        """Refused."""
        del offset, data, fua
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    def zero(
        self, offset: int, length: int, *, may_trim: bool, fast: bool, fua: bool
    ) -> Never:
        """Refused."""
        del offset, length, may_trim, fast, fua
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    def trim(self, offset: int, length: int, *, fua: bool) -> Never:
        """Refused."""
        del offset, length, fua
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    def flush(self) -> asyncio.Future[None] | None:
        """Nothing is written here."""

    def allocation(self, offset: int, length: int) -> list[AllocationExtent]:
        """Describes the checkpoint."""
        self._check()
        buffer = self._replica.buffer
        return allocation(buffer, self._volume, offset, length, at=self._epoch)
