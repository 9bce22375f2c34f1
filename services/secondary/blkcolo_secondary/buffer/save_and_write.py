"""Writes gathered so that their old content is saved by one append.

The order is the heart of the Disk Buffer: save, make that durable where power loss is
to be survived, and only then write. What is gathered is saved as one set of blocks
before the first of it is written, so writes that share a block need no care.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pyroaring import BitMap

from blkcolo.errors import from_os_error, translated
from blkcolo.extents import BLOCK_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from blkcolo.storage.files import BlockFile
    from blkcolo.stream import VolumeId
    from blkcolo_secondary.buffer.undo_layer import UndoLayer

#: Bytes gathered before they are saved and written.
_STEP_BYTES = 1 << 20
#: No write begins here.
_NOWHERE = (-1, 0)


class Sync(NamedTuple):
    """An effect: something is to be made durable before the next step.

    `run` may be called on any thread; it raises OSError or BlkcoloError.
    """

    run: Callable[[], None]


class _Data(NamedTuple):
    """Bytes [position, position + length) of the payload go to `offset`."""

    volume: int
    offset: int
    length: int
    position: int


class _Zero(NamedTuple):
    """The extent is to read as zeros."""

    volume: int
    offset: int
    length: int
    may_trim: bool


class SaveAndWrite:
    """A few records of one batch, on their way to the disk."""

    def __init__(
        self,
        disks: Sequence[BlockFile],
        volumes: Sequence[VolumeId],
        layer: UndoLayer | None,
        payload: memoryview,
    ) -> None:
        """Starts empty; without a layer nothing is saved.

        Args:
            disks: the group's disks.
            volumes: its volumes.
            layer: where old content goes.
            payload: the batch's data.
        """
        self._disks = disks
        self._volumes = volumes
        self._layer = layer
        self._payload = payload
        self._gathered: list[_Data | _Zero] = []
        self._bytes = 0
        #: The volume and offset where data that follows joins what is before it.
        self._goes_on = _NOWHERE

    def full_with(self, length: int) -> bool:
        """True if what is gathered must be written before `length` bytes more."""
        return bool(self._gathered) and self._bytes + length > _STEP_BYTES

    def add_data(self, volume: int, offset: int, length: int, position: int) -> None:
        """Adds a write of `length` payload bytes from `position` on.

        Where it goes on from the one before, on the disk as in the payload, the two
        become one.
        """
        self._bytes += length
        if (volume, offset) == self._goes_on:
            _, first, before, start = self._gathered[-1]
            self._gathered[-1] = _Data(volume, first, before + length, start)
        else:
            self._gathered.append(_Data(volume, offset, length, position))
        self._goes_on = volume, offset + length

    def add_zero(
        self, volume: int, offset: int, length: int, *, may_trim: bool
    ) -> None:
        """Adds a zero or a trim."""
        self._bytes += length
        self._gathered.append(_Zero(volume, offset, length, may_trim))
        self._goes_on = _NOWHERE

    def save(self) -> UndoLayer | None:
        """Saves old content; the layer, if anything was saved.

        Raises:
            BlkcoloError: the log or the disk refused; nothing was written.
        """
        layer = self._layer
        if layer is None or not self._gathered:
            return None
        touched = [BitMap() for _ in self._volumes]
        for volume, offset, length, _ in self._gathered:
            first, end = offset // BLOCK_SIZE, -(-(offset + length) // BLOCK_SIZE)
            touched[volume].add_range(first, end)
        volume, offset, _, _ = self._gathered[0]
        with translated("saving old content", self._volumes[volume].name, offset):
            return layer if layer.save(self._disks, touched) else None

    def write(self) -> None:
        """Writes what was gathered, in order.

        Raises:
            BlkcoloError: the disk refused; what was overwritten is saved.
        """
        volume = offset = 0
        try:
            for each in self._gathered:
                volume, offset, length, detail = each
                if isinstance(each, _Data):
                    data = self._payload[detail : detail + length]
                    self._disks[volume].write(offset, data)
                else:
                    may_trim = each.may_trim
                    self._disks[volume].zero(offset, length, may_trim=may_trim)
        except OSError as error:
            name = self._volumes[volume].name
            raise from_os_error(error, "writing the disk", name, offset) from error
        self._gathered = []
        self._bytes = 0
        self._goes_on = _NOWHERE
