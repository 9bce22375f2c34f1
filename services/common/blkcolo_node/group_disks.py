"""What a group of a node has whichever role it plays: its disks and its intent log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from blkcolo.intent.log import IntentLog
from blkcolo.intent.regions import region_size_for
from blkcolo.storage.posix_files import PosixFile, PosixFolder, open_image
from blkcolo.storage.volume_growth import VolumeGrowth, load_sizes
from blkcolo.stream import VolumeId

if TYPE_CHECKING:
    from pathlib import Path

    from blkcolo_node.settings import GroupOptions

_log = structlog.get_logger(__name__)


class GroupDisks:
    """The disks of one group, open from its start to its end.

    Attributes:
        folder: where the state of all groups is kept.
        volumes: the volumes, in the order of the configuration; shared with all that
            must know when one grows.
        images: their images, in the same order.
        growth: makes them larger.
        intent: where a disk may differ from what the other side holds.
    """

    def __init__(self, options: GroupOptions, path: Path) -> None:
        """Opens them.

        Args:
            options: the group's.
            path: the folder of all groups.

        Raises:
            BlkcoloError: a disk or a state file cannot be used.
        """
        self.folder = PosixFolder(path)
        self.images: list[PosixFile] = []
        self.volumes: list[VolumeId] = []
        self.growth = VolumeGrowth(self.folder, options.name, self.volumes, self.images)
        try:
            self._open_images(options)
            self.intent = self._open_intent(options)
        except BaseException:
            self._close_images()
            raise

    def _open_images(self, options: GroupOptions) -> None:
        grown = load_sizes(self.folder, options.name)
        for volume in options.volumes:
            larger = grown.get(volume.name, 0)
            image = open_image(volume.path, volume.name, volume.size, larger)
            self.images.append(image)
            identity = volume.identity(options.name)
            self.volumes.append(VolumeId(volume.name, identity, image.size))

    def _open_intent(self, options: GroupOptions) -> IntentLog:
        sizes = [volume.size for volume in self.volumes]
        region_size = options.forward.region_size or region_size_for(max(sizes))
        log = IntentLog(self.folder, options.name, sizes, region_size)
        if log.damage is not None:
            _log.error(
                "intent log unusable: the next resync compares everything",
                group=options.name,
                error=str(log.damage),
            )
        return log

    def close(self) -> None:
        """Closes them; whoever played a role with them has ended."""
        self.intent.close()
        self._close_images()

    def _close_images(self) -> None:
        for image in self.images:
            image.close()
