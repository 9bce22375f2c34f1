"""Volumes that grow: the size in force outlives the one that was configured.

One small JSON file a group, by volume. It is written before the image is extended, so
a growth that a crash cut is completed by the next start. What is refused leaves no
trace in it: a larger size than that of a device would stop the next start.
"""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from typing import TYPE_CHECKING

from blkcolo.errors import (
    BlkcoloError,
    DataLoss,
    Invalid,
    Reason,
    Refused,
    from_os_error,
)
from blkcolo.storage import state_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blkcolo.storage.files import BlockFile, Folder
    from blkcolo.stream import VolumeId


def load_sizes(folder: Folder, group: str) -> dict[str, int]:
    """The sizes in bytes of the volumes that have grown.

    Raises:
        DataLoss: the file is damaged; names it.
    """
    name = f"{group}.sizes"
    content = state_file.load(folder, name)
    if content is None:
        return {}
    try:
        return {str(volume): int(size) for volume, size in json.loads(content).items()}
    except (ValueError, AttributeError) as error:
        raise DataLoss(
            Reason.DISK_ERROR,
            f"{name} is damaged: {error}; remove it, and give each volume its present"
            " size in the configuration",
        ) from error


class VolumeGrowth:
    """Makes the volumes of one group larger, on one side."""

    def __init__(
        self,
        folder: Folder,
        group: str,
        volumes: list[VolumeId],
        disks: Sequence[BlockFile],
    ) -> None:
        """Takes the group.

        Args:
            folder: where the sizes are kept.
            group: its name.
            volumes: its volumes; shared with all that must know when one grows.
            disks: their images, in the same order.
        """
        self._folder = folder
        self._group = group
        self._volumes = volumes
        self._disks = disks

    def find(self, name: str) -> int:
        """The index of the volume of this name; raises Invalid if there is none."""
        for index, volume in enumerate(self._volumes):
            if volume.name == name:
                return index
        known = ", ".join(volume.name for volume in self._volumes)
        raise Invalid(
            Reason.INVALID,
            f"group {self._group} has no volume {name!r} (it has: {known}); check the"
            " name",
        )

    def grow(self, index: int, size: int) -> None:
        """Extends a volume's image to `size` bytes, the present size included.

        A block device is extended by its operator, before.

        Raises:
            Refused: it would shrink, or is a device that is too small.
            BlkcoloError: the disk refused; the old size is in force.
        """
        volume, disk = self._volumes[index], self._disks[index]
        if size < volume.size:
            raise Refused(
                Reason.VOLUME_MISMATCH,
                f"volume {volume.name} has {volume.size} bytes and cannot shrink to"
                f" {size}; name a larger size",
                volume.name,
            )
        before = load_sizes(self._folder, self._group)
        try:
            if disk.size < size:
                disk.truncate(disk.size)  # a device refuses even that
            self._save({**before, volume.name: size})
            if disk.size < size:
                self._extend(disk, size, before)
        except OSError as error:
            raise self._failed(error, volume, disk.size, size) from error
        self._volumes[index] = replace(volume, size=size)

    def _extend(self, disk: BlockFile, size: int, before: dict[str, int]) -> None:
        try:
            disk.truncate(size)
            disk.sync()
        except OSError:
            self._save(before)
            raise

    @staticmethod
    def _failed(
        error: OSError, volume: VolumeId, present: int, size: int
    ) -> BlkcoloError:
        if error.errno != errno.EINVAL:
            return from_os_error(error, "extending the image", volume.name)
        return Refused(
            Reason.VOLUME_MISMATCH,
            f"volume {volume.name}: its device has {present} bytes; extend it to"
            f" {size}, then grow the volume",
            volume.name,
        )

    def _save(self, sizes: dict[str, int]) -> None:
        name = f"{self._group}.sizes"
        state_file.save(self._folder, name, json.dumps(sizes).encode())
