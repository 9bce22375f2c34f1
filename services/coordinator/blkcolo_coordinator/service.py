"""The coordinator as a process: store, drivers, gRPC and metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blkcolo.observe.metrics import ErrorCounter, MetricsServer
from blkcolo.process.service_security import ServiceSecurity
from blkcolo.rpc.errors import DomainErrors
from blkcolo.rpc.metrics import CallMetrics
from blkcolo.rpc.server import GrpcServer
from blkcolo.security.authorization import PeerRole
from blkcolo.storage.data_directory import DataDirectory
from blkcolo.v1 import coordinator_pb2_grpc as rpc
from blkcolo_coordinator.metrics import GroupCollector
from blkcolo_coordinator.runtime.counts import CoordinatorMetrics
from blkcolo_coordinator.runtime.groups import Groups
from blkcolo_coordinator.servicer import CoordinatorServicer
from blkcolo_coordinator.status_page import StatusPage

if TYPE_CHECKING:
    from blkcolo_coordinator.settings import CoordinatorSettings

_SERVICE_NAME = "blkcolo.v1.CoordinatorService"
#: Seconds given to calls that are under way when the service stops.
_GRACE = 1.0


class CoordinatorService:
    """Everything that one coordinator process holds."""

    def __init__(self, settings: CoordinatorSettings) -> None:
        """Takes the options; `start` opens things."""
        self._settings = settings
        metrics = CoordinatorMetrics()
        security = ServiceSecurity(settings, PeerRole.COORDINATOR, metrics.registry)
        self._groups = Groups(settings, metrics, security.dialer)
        self._page = StatusPage(self._groups)
        self._metrics = MetricsServer(
            settings.metrics.listen,
            metrics.registry,
            security.for_metrics(settings.metrics),
            [GroupCollector(self._groups.drivers)],
            self._page.pages,
        )
        self._grpc = GrpcServer(
            settings.grpc.listen,
            [
                (
                    rpc.add_CoordinatorServiceServicer_to_server,
                    CoordinatorServicer(self._groups),
                    _SERVICE_NAME,
                )
            ],
            [
                CallMetrics(metrics.registry, [_SERVICE_NAME]),
                DomainErrors(ErrorCounter([_SERVICE_NAME], metrics.registry)),
            ],
            security.files,
            security.on_denied,
        )
        self._directory: DataDirectory | None = None

    async def start(self) -> None:
        """Opens the store, starts the groups, listens; raises BlkcoloError."""
        self._directory = DataDirectory(self._settings.data_dir)
        self._groups.open(self._settings.data_dir / "coordinator.sqlite")
        self._page.start()
        self._metrics.start()
        await self._grpc.start()

    async def stop(self) -> None:
        """Ends calls, then groups; replication itself goes on without us."""
        await self._grpc.stop(_GRACE)
        await self._groups.close()
        self._metrics.stop()
        if self._directory is not None:
            self._directory.close()

    async def reload(
        self, settings: CoordinatorSettings, changed: frozenset[str]
    ) -> frozenset[str]:
        """Takes over groups and their policies; returns those of `changed`."""
        return await self._groups.reload(settings.groups, changed)

    def describe(self) -> list[str]:
        """The gRPC address and the groups."""
        return [f"grpc {self._grpc.bound}", *self._groups.drivers]


def build(settings: CoordinatorSettings) -> CoordinatorService:
    """Makes the service; nothing is opened yet."""
    return CoordinatorService(settings)
