"""One group of a node: its disks, and the role that it plays with them."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

import structlog

from blkcolo.errors import BlkcoloError, DataLoss, Reason, translated
from blkcolo.intent.log import IntentLog
from blkcolo.intent.regions import region_size_for
from blkcolo.roles import Role
from blkcolo.storage.posix_files import PosixFile, PosixFolder, open_image
from blkcolo.storage.volume_growth import VolumeGrowth, load_sizes
from blkcolo.stream import VolumeId
from blkcolo_node import role_change, role_file
from blkcolo_node.volume_export import VolumeExport
from blkcolo_primary.export import DiskExport
from blkcolo_primary.runtime.group import ForwardGroup
from blkcolo_secondary.core.replica import Replica
from blkcolo_secondary.core.replica_options import ReplicaOptions
from blkcolo_secondary.record.history import HistoryPolicy
from blkcolo_secondary.runtime.group import ReplicaGroup
from blkcolo_secondary.runtime.load_progress import LoadProgress
from blkcolo_secondary.view_export import ViewExport

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from blkcolo.nbd.export import Export
    from blkcolo.rpc.client import Dialer
    from blkcolo_node.settings import GroupOptions

_log = structlog.get_logger(__name__)

#: Seconds given to writes that the secondary has not applied yet.
_DRAIN = 5.0


class NodeGroup:
    """One group; exactly one of `forward` and `replica` is there."""

    def __init__(
        self, options: GroupOptions, path: Path, first: Role, dialer: Dialer
    ) -> None:
        """Opens the disks and goes on in the role that the folder says.

        Args:
            options: what the configuration says.
            path: the folder of all groups.
            first: the role of a group that has never changed it.
            dialer: reaches other nodes.

        Raises:
            BlkcoloError: a disk or a state file cannot be used.
        """
        self.name = options.name
        self.forward: ForwardGroup | None = None
        self.replica: ReplicaGroup | None = None
        self._options = options
        self._dialer = dialer
        self._folder = PosixFolder(path)
        self._replica_path = path / options.name
        self._disks: list[PosixFile] = []
        self._changing = asyncio.Lock()
        self.volumes: list[VolumeId] = []
        self._growth = VolumeGrowth(self._folder, self.name, self.volumes, self._disks)
        try:
            self._open_disks()
            self._intent = self._open_intent()
            self.role = role_file.load(self._folder, self.name, first)
            self.exports = [VolumeExport(played) for played in self._play()]
        except BaseException:
            self._close_disks()
            raise

    def _open_disks(self) -> None:
        grown = load_sizes(self._folder, self.name)
        for volume in self._options.volumes:
            larger = grown.get(volume.name, 0)
            disk = open_image(volume.path, volume.name, volume.size, larger)
            self._disks.append(disk)
            identity = volume.identity(self.name)
            self.volumes.append(VolumeId(volume.name, identity, disk.size))

    def _open_intent(self) -> IntentLog:
        sizes = [volume.size for volume in self.volumes]
        region_size = self._options.forward.region_size or region_size_for(max(sizes))
        log = IntentLog(self._folder, self.name, sizes, region_size)
        if log.damage is not None:
            _log.error(
                "intent log unusable: the next resync compares everything",
                group=self.name,
                error=str(log.damage),
            )
        return log

    def _play(self) -> list[Export]:
        """Opens what plays the role in force; its exports, one a volume."""
        if self.role is Role.PRIMARY:
            self.forward = self._open_forward()
            return self._disk_exports(self.forward)
        self.replica = self._open_replica()
        return self._view_exports(self.replica)

    def _disk_exports(self, forward: ForwardGroup) -> list[Export]:
        return [
            DiskExport(forward, index, disk) for index, disk in enumerate(self._disks)
        ]

    def _view_exports(self, replica: ReplicaGroup) -> list[Export]:
        return [ViewExport(replica, index) for index in range(len(self.volumes))]

    def _open_forward(self) -> ForwardGroup:
        with translated(f"opening the state of group {self.name}"):
            return ForwardGroup(
                self.name,
                self._options.forward,
                self.volumes,
                self._disks,
                self._folder,
                self._intent,
                self._growth,
                self._dialer,
            )

    def _open_replica(self) -> ReplicaGroup:
        options = self._options.replica
        with translated(f"opening the Disk Buffer of group {self.name}"):
            replica = self._read_replica()
        return ReplicaGroup(
            replica,
            secondary_vm=options.secondary_vm,
            queue_bytes=options.queue_bytes,
            growth=self._growth,
            clock=time.time,
        )

    def _read_replica(self) -> Replica:
        options, path = self._options.replica, self._replica_path
        try:
            return Replica(
                self.name,
                self.volumes,
                self._disks,
                PosixFolder(path),
                self._intent,
                lambda: str(uuid4()),
                ReplicaOptions(
                    host_durable=options.durability == "host",
                    buffer_limit_bytes=options.buffer_limit_bytes,
                    history=HistoryPolicy(**options.history.model_dump()),
                ),
                LoadProgress(self.name, time.monotonic),
            )
        except DataLoss as error:
            message = f"group {self.name}: {path}/{error.message}"
            if error.reason is not Reason.PROTOCOL_VERSION:
                message += (
                    "; restore the file from a copy, or give the checkpoint up: move"
                    f" the folder {path} away, start this service again, and run:"
                    f" blkcolo resume {self.name} --discard secondary (it copies what"
                    " differs)"
                )
            raise replace(error, message=message) from error

    def start(self) -> None:
        """Goes on with what an earlier run left unfinished."""
        if self.replica is not None:
            self.replica.start()

    @property
    def generation(self) -> int:
        """The newest known generation."""
        if self.forward is not None:
            return self.forward.core.generation
        return self.replica.replica.generation if self.replica is not None else 0

    # Changes of role. NBD clients stay: their exports change under them.

    async def demote(self, generation: int) -> None:
        """Makes this the secondary; what the disk holds can be brought back.

        Answers the same when repeated.

        Raises:
            BlkcoloError: the generation, the state or the disk does not allow it;
                calling again goes on.
        """
        async with self._changing:
            if self.replica is not None:
                role_change.demote_again(self.replica.replica, generation)
                self.replica.changed.fire()
            elif self.forward is not None:
                await self._demote(self.forward, generation)

    async def _demote(self, forward: ForwardGroup, generation: int) -> None:
        if role_change.needs_fence(forward.core, generation):
            await forward.fence(generation)
        replica = self._open_replica()
        try:
            epoch = forward.core.epoch
            role_change.demote(self._folder, replica.replica, generation, epoch)
        except BlkcoloError:
            await replica.close()
            raise
        self.role, self.forward, self.replica = Role.SECONDARY, None, replica
        self._show(self._view_exports(replica))
        replica.start()
        await forward.close(0.0)
        _log.warning("demoted", group=self.name, generation=generation)

    async def promote(self, generation: int) -> None:
        """Makes this the primary: it was failed over, and its flush is complete.

        Answers the same when repeated.

        Raises:
            BlkcoloError: the generation, the state or the disk does not allow it.
        """
        async with self._changing:
            role_change.check_promotion(self.name, self.generation, generation)
            replica = self.replica
            if replica is None:
                return
            replica.check_flushed()
            role_change.promote(self._folder, replica.replica, generation)
            forward = self._open_forward()
            self.role, self.forward, self.replica = Role.PRIMARY, forward, None
            self._show(self._disk_exports(forward))
            await replica.close()
            _log.warning("promoted", group=self.name, generation=generation)

    def _show(self, played: Sequence[Export]) -> None:
        for export, its in zip(self.exports, played, strict=True):
            export.played = its

    async def end_forwarding(self) -> None:
        """Lets the secondary catch up, where this is the primary.

        Raises:
            DeadlineMissed: it did not; everything is closed all the same.
        """
        if self.forward is not None:
            await self.forward.close(_DRAIN)

    async def close(self) -> None:
        """Closes everything; `end_forwarding` came before."""
        if self.replica is not None:
            await self.replica.close()
        self._intent.close()
        self._close_disks()

    def _close_disks(self) -> None:
        for disk in self._disks:
            disk.close()
