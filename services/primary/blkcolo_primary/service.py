"""The primary as a process: opens disks, serves NBD, gRPC and metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blkcolo.data_directory import DataDirectory
from blkcolo.errors import DeadlineMissed
from blkcolo.grpc_errors import DomainErrors
from blkcolo.grpc_server import GrpcServer
from blkcolo.metrics import ErrorCounter, MetricsServer
from blkcolo.nbd.server import NbdServer
from blkcolo.posix_files import PosixFile, PosixFolder, open_image
from blkcolo.stream import VolumeId
from blkcolo.v1 import primary_pb2_grpc as rpc
from blkcolo_primary.export import DiskExport
from blkcolo_primary.group import ForwardGroup
from blkcolo_primary.metrics import registry
from blkcolo_primary.servicer import PrimaryServicer

if TYPE_CHECKING:
    from blkcolo.nbd.export import Export
    from blkcolo_primary.settings import GroupSettings, PrimarySettings

_SERVICE_NAME = "blkcolo.v1.PrimaryService"
#: Seconds given to calls that are under way when the service stops.
_GRACE = 2.0
#: Seconds given to writes that the secondary has not applied yet.
_DRAIN = 5.0


class PrimaryService:
    """Everything that one primary process holds."""

    def __init__(self, settings: PrimarySettings) -> None:
        """Takes the options; `start` opens things."""
        self._settings = settings
        self._disks: list[PosixFile] = []
        self._groups: dict[str, ForwardGroup] = {}
        self._exports: dict[str, Export] = {}
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
                    rpc.add_PrimaryServiceServicer_to_server,
                    PrimaryServicer(self._groups, self._nbd.uri),
                    _SERVICE_NAME,
                )
            ],
            [DomainErrors(ErrorCounter("primary", metrics))],
        )
        self._directory: DataDirectory | None = None

    async def start(self) -> None:
        """Opens disks and listens; raises BlkcoloError."""
        self._directory = DataDirectory(self._settings.data_dir)
        for group in self._settings.groups:
            self._open_group(group)
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
        folder = PosixFolder(self._settings.data_dir / "groups")
        group = ForwardGroup(settings, volumes, disks, folder)
        self._groups[settings.name] = group
        for index, disk in enumerate(disks):
            export = DiskExport(group, index, disk)
            self._exports[export.name] = export

    async def stop(self) -> None:
        """Stops VM writes first, then lets the secondary catch up."""
        await self._nbd.stop()
        late: DeadlineMissed | None = None
        for group in self._groups.values():
            try:
                await group.close(_DRAIN)
            except DeadlineMissed as error:
                late = error
        await self._grpc.stop(_GRACE)
        self._metrics.stop()
        for disk in self._disks:
            disk.close()
        if self._directory is not None:
            self._directory.close()
        if late is not None:
            raise late

    def describe(self) -> list[str]:
        """The URIs of the disks and the gRPC address."""
        return [
            *(self._nbd.uri(name) for name in self._exports),
            f"grpc {self._grpc.bound}",
        ]


def build(settings: PrimarySettings) -> PrimaryService:
    """Makes the service; nothing is opened yet."""
    return PrimaryService(settings)
