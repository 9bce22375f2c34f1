"""The secondary as a process: opens disks and buffers, serves NBD, gRPC, metrics."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from uuid import uuid4

from blkcolo.data_directory import DataDirectory
from blkcolo.grpc_errors import DomainErrors
from blkcolo.grpc_server import GrpcServer
from blkcolo.metrics import ErrorCounter, MetricsServer
from blkcolo.nbd.server import NbdServer
from blkcolo.posix_files import PosixFile, PosixFolder, open_image
from blkcolo.stream import VolumeId
from blkcolo.v1 import secondary_pb2_grpc as rpc
from blkcolo_secondary.checkpoint_export import Exports
from blkcolo_secondary.group import ReplicaGroup
from blkcolo_secondary.history import HistoryPolicy
from blkcolo_secondary.metrics import registry
from blkcolo_secondary.replica import Replica
from blkcolo_secondary.replica_options import ReplicaOptions
from blkcolo_secondary.servicer import SecondaryServicer
from blkcolo_secondary.view_export import ViewExport

if TYPE_CHECKING:
    from blkcolo_secondary.settings import GroupSettings, SecondarySettings

_SERVICE_NAME = "blkcolo.v1.SecondaryService"
#: Seconds given to calls that are under way when the service stops.
_GRACE = 1.0


class SecondaryService:
    """Everything that one secondary process holds."""

    def __init__(self, settings: SecondarySettings) -> None:
        """Takes the options; `start` opens things."""
        self._settings = settings
        self._disks: list[PosixFile] = []
        self._groups: dict[str, ReplicaGroup] = {}
        self._exports = Exports()
        self._nbd = NbdServer(
            self._exports,
            handshake_timeout=settings.nbd.handshake_timeout_seconds,
            max_connections=settings.nbd.max_connections,
        )
        metrics = registry(self._groups)
        self._metrics = MetricsServer(settings.metrics.listen, metrics)
        self._grpc = GrpcServer(
            settings.grpc.listen,
            [
                (
                    rpc.add_SecondaryServiceServicer_to_server,
                    SecondaryServicer(self._groups, self._nbd.uri),
                    _SERVICE_NAME,
                )
            ],
            [DomainErrors(ErrorCounter("secondary", metrics))],
        )
        self._directory: DataDirectory | None = None

    async def start(self) -> None:
        """Opens disks and buffers, and listens; raises BlkcoloError."""
        self._directory = DataDirectory(self._settings.data_dir)
        for settings in self._settings.groups:
            self._open_group(settings)
        await self._nbd.start(self._settings.nbd.listen)
        self._metrics.start()
        await self._grpc.start()

    def _open_group(self, settings: GroupSettings) -> None:
        disks, volumes = [], []
        for volume in settings.volumes:
            disk = open_image(volume.path, volume.name, volume.size)
            self._disks.append(disk)
            disks.append(disk)
            identity = volume.identity(settings.name)
            volumes.append(VolumeId(volume.name, identity, disk.size))
        folder = PosixFolder(self._settings.data_dir / "groups" / settings.name)
        group = ReplicaGroup(
            Replica(
                settings.name,
                volumes,
                disks,
                folder,
                lambda: str(uuid4()),
                _options(settings),
            ),
            secondary_vm=settings.secondary_vm,
            queue_bytes=settings.queue_bytes,
            clock=time.time,
        )
        self._groups[settings.name] = group
        for index in range(len(volumes)):
            self._exports.add(ViewExport(group, index), group, index)
        group.start()

    async def stop(self) -> None:
        """Ends streams and calls, then closes the buffers."""
        await self._nbd.stop()
        await self._grpc.stop(_GRACE)
        for group in self._groups.values():
            await group.close()
        self._metrics.stop()
        for disk in self._disks:
            disk.close()
        if self._directory is not None:
            self._directory.close()

    def describe(self) -> list[str]:
        """The URIs of the views and the gRPC address."""
        return [
            *(self._nbd.uri(name) for name in self._exports.views),
            f"grpc {self._grpc.bound}",
        ]


def _options(settings: GroupSettings) -> ReplicaOptions:
    return ReplicaOptions(
        host_durable=settings.durability == "host",
        buffer_limit_bytes=settings.buffer_limit_bytes,
        history=HistoryPolicy(**settings.history.model_dump()),
    )


def build(settings: SecondarySettings) -> SecondaryService:
    """Makes the service; nothing is opened yet."""
    return SecondaryService(settings)
