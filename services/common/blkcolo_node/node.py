"""A node as a process: its groups, one NBD server, one gRPC server, its metrics."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from blkcolo.errors import DeadlineMissed, Reason
from blkcolo.nbd.server import NbdServer
from blkcolo.observe.metrics import ErrorCounter, MetricsServer
from blkcolo.process.service_security import ServiceSecurity
from blkcolo.roles import GroupsInRole, Role
from blkcolo.rpc.errors import DomainErrors
from blkcolo.rpc.metrics import CallMetrics
from blkcolo.rpc.server import GrpcServer
from blkcolo.security.authorization import PeerRole
from blkcolo.storage.data_directory import DataDirectory
from blkcolo.v1 import node_pb2_grpc, primary_pb2_grpc
from blkcolo_node.many_calls import ManyCalls, methods_of
from blkcolo_node.metrics import NodeCollector
from blkcolo_node.node_group import NodeGroup
from blkcolo_node.servicer import NodeServicer
from blkcolo_node.volume_export import Exports
from blkcolo_primary.metrics import ForwardCollector
from blkcolo_primary.servicer import PrimaryServicer
from blkcolo_secondary import servicer as secondary_servicer
from blkcolo_secondary.metrics import ReplicaCollector
from blkcolo_secondary.servicer import SecondaryServicer

if TYPE_CHECKING:
    from blkcolo_node.settings import NodeSettings

_SERVICES = (
    "blkcolo.v1.PrimaryService",
    secondary_servicer.SERVICE,
    "blkcolo.v1.NodeService",
)
#: Seconds given to calls that are under way when the node stops.
_GRACE = 2.0


class Node:
    """Everything that one process holds."""

    def __init__(self, settings: NodeSettings) -> None:
        """Takes the options; `start` opens things."""
        self._settings = settings
        self._groups: dict[str, NodeGroup] = {}
        self._exports = Exports()
        registry = CollectorRegistry()
        security = ServiceSecurity(settings, PeerRole.NODE, registry)
        self._dialer = security.dialer
        self._nbd = NbdServer(
            self._exports,
            handshake_timeout=settings.nbd.handshake_timeout_seconds,
            max_connections=settings.nbd.max_connections,
            busy_poll=settings.nbd.busy_poll_seconds,
            tls=security.for_nbd(settings.nbd),
            advertise=settings.nbd.advertise,
            place_of=self._exports.place_of,
        )
        self._forwarding = GroupsInRole(
            Role.PRIMARY, self._groups, lambda group: group.forward
        )
        self._receiving = GroupsInRole(
            Role.SECONDARY, self._groups, lambda group: group.replica
        )
        self._metrics = self._metrics_server(registry, security)
        self._grpc = self._grpc_server(registry, security)
        self._directory: DataDirectory | None = None

    def _metrics_server(
        self, registry: CollectorRegistry, security: ServiceSecurity
    ) -> MetricsServer:
        return MetricsServer(
            self._settings.metrics.listen,
            registry,
            security.for_metrics(self._settings.metrics),
            [
                NodeCollector(self._groups),
                ForwardCollector(self._forwarding),
                ReplicaCollector(self._receiving),
                self._nbd.metrics,
            ],
        )

    def _grpc_server(
        self, registry: CollectorRegistry, security: ServiceSecurity
    ) -> GrpcServer:
        """One port for all three services, whichever roles the groups play."""
        primary = PrimaryServicer(self._forwarding, self._nbd.uri)
        secondary = SecondaryServicer(self._receiving, self._nbd.uri)
        count_error = ErrorCounter(_SERVICES, registry)
        many = ManyCalls(methods_of(primary, secondary), count_error)
        node = NodeServicer(self._groups, many)
        return GrpcServer(
            self._settings.grpc.listen,
            [
                (
                    primary_pb2_grpc.add_PrimaryServiceServicer_to_server,
                    primary,
                    _SERVICES[0],
                ),
                (secondary_servicer.add_to_server, secondary, _SERVICES[1]),
                (
                    node_pb2_grpc.add_NodeServiceServicer_to_server,
                    node,
                    _SERVICES[2],
                ),
            ],
            [CallMetrics(registry, _SERVICES), DomainErrors(count_error)],
            security.files,
            security.on_denied,
        )

    async def start(self) -> None:
        """Opens disks and buffers, and listens; raises BlkcoloError."""
        self._directory = DataDirectory(self._settings.data_dir)
        first = self._settings.first_role
        for settings in self._settings.groups:
            folder = self._settings.data_dir / "groups"
            group = NodeGroup(settings.options, folder, first, self._dialer)
            self._groups[group.name] = group
            self._exports.add(group)
            group.start()
        await self._nbd.start(self._settings.nbd.listen)
        self._metrics.start()
        await self._grpc.start()

    async def stop(self) -> None:
        """Stops VM writes first, then lets the secondaries catch up.

        Raises:
            DeadlineMissed: one did not; everything is closed all the same.
        """
        await self._grpc.refuse_health()
        await self._nbd.stop()
        ends = await asyncio.gather(
            *(group.end_forwarding() for group in self._groups.values()),
            return_exceptions=True,
        )
        await self._grpc.stop(_GRACE)
        for group in self._groups.values():
            await group.close()
        self._metrics.stop()
        if self._directory is not None:
            self._directory.close()
        _raise_together([end for end in ends if end is not None])

    async def reload(
        self, settings: NodeSettings, changed: frozenset[str]
    ) -> frozenset[str]:
        """Disks, streams and ports are made at the start: nothing changes here."""
        del settings, changed
        return frozenset()

    def describe(self) -> list[str]:
        """The URIs of the volumes and the gRPC address."""
        return [
            *(self._nbd.uri(name) for name in self._exports.volumes),
            f"grpc {self._grpc.bound}",
        ]


def _raise_together(errors: list[BaseException]) -> None:
    """Raises what went wrong; where that is time alone, for all groups at once."""
    late = [error.message for error in errors if isinstance(error, DeadlineMissed)]
    for error in errors:
        if not isinstance(error, DeadlineMissed):
            raise error
    if late:
        raise DeadlineMissed(Reason.DEADLINE, "; ".join(late))


def build(settings: NodeSettings) -> Node:
    """Makes the node; nothing is opened yet."""
    return Node(settings)
