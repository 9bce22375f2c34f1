"""Writes gathered so that their old content is saved by one append.

The order is the heart of the Disk Buffer: save, make that durable where power loss is
to be survived, and only then write.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from pyroaring import BitMap

from blkcolo.errors import from_os_error
from blkcolo.extents import BLOCK_SIZE, covering

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from blkcolo.files import BlockFile
    from blkcolo.stream import VolumeId
    from blkcolo_secondary.undo_layer import SaveRun, UndoLayer

#: Old content gathered before it is appended, in bytes.
_SAVE_BYTES = 1 << 20


class Sync(NamedTuple):
    """An effect: something is to be made durable before the next step.

    `run` may be called on any thread; it raises OSError or BlkcoloError.
    """

    run: Callable[[], None]


@contextmanager
def translated(what: str, volume: str, offset: int) -> Iterator[None]:
    """Turns an OSError into the domain's error, with the place."""
    try:
        yield
    except OSError as error:
        raise from_os_error(error, what, volume, offset) from error


class SaveAndWrite:
    """A few records of one epoch, on their way to the disk."""

    def __init__(
        self,
        disks: Sequence[BlockFile],
        volumes: Sequence[VolumeId],
        layer: UndoLayer | None,
    ) -> None:
        """Starts empty; without a layer nothing is saved."""
        self._disks = disks
        self._volumes = volumes
        self._layer = layer
        self._wanted: list[SaveRun] = []
        self._claimed = [BitMap() for _ in volumes]
        self._bytes = 0
        self._writes: list[tuple[int, int, memoryview]] = []
        self._zeros: list[tuple[int, int, int, bool]] = []

    def takes(self, volume: int, offset: int, length: int) -> bool:
        """False if what is gathered must be written first.

        A block is saved once, before its first overwrite: where two writes share
        one, the first must be done before the second is looked at.
        """
        if self._bytes >= _SAVE_BYTES:
            return False
        blocks = covering(offset, length)
        return not self._claimed[volume].range_cardinality(*blocks)

    def add_data(self, volume: int, offset: int, data: memoryview) -> None:
        """Adds a write that `takes` agreed to."""
        self._claim(volume, offset, len(data))
        self._writes.append((volume, offset, data))

    def add_zero(
        self, volume: int, offset: int, length: int, *, may_trim: bool
    ) -> None:
        """Adds a zero or a trim; nothing else may be gathered."""
        self._claim(volume, offset, length)
        self._zeros.append((volume, offset, length, may_trim))

    def _claim(self, volume: int, offset: int, length: int) -> None:
        if self._layer is None:
            return
        for gap in self._layer.missing(volume, covering(offset, length)):
            self._wanted.append((volume, gap))
            self._claimed[volume].add_range(*gap)
            self._bytes += (gap.end - gap.first) * BLOCK_SIZE

    def save(self) -> UndoLayer | None:
        """Saves old content; the layer, if anything was saved.

        Raises:
            BlkcoloError: the log or the disk refused; nothing was written.
        """
        layer = self._layer
        if layer is None or not self._wanted:
            return None
        volume, blocks = self._wanted[0]
        name, offset = self._volumes[volume].name, blocks.first * BLOCK_SIZE
        with translated("saving old content", name, offset):
            layer.save(self._disks, self._wanted)
        self._wanted = []
        self._claimed = [BitMap() for _ in self._volumes]
        self._bytes = 0
        return layer

    def write(self) -> None:
        """Writes what was gathered.

        Raises:
            BlkcoloError: the disk refused; what was overwritten is saved.
        """
        for volume, offset, data in self._writes:
            with translated("writing the disk", self._volumes[volume].name, offset):
                self._disks[volume].write(offset, data)
        for volume, offset, length, may_trim in self._zeros:
            with translated("writing the disk", self._volumes[volume].name, offset):
                self._disks[volume].zero(offset, length, may_trim=may_trim)
        self._writes = []
        self._zeros = []
