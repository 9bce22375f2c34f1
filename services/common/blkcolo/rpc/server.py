"""A gRPC server as all three services run it: health, reflection, channelz."""

from __future__ import annotations

import errno
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
from grpc_channelz.v1 import channelz
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from blkcolo.errors import Reason, Refused
from blkcolo.rpc.authorization import Authorization
from blkcolo.rpc.credentials import server_credentials
from blkcolo.stream import MESSAGE_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from blkcolo.addresses import Address
    from blkcolo.security.authorization import PeerRole
    from blkcolo.security.certificate_files import CertificateFiles

_CHANNELZ_NAME = "grpc.channelz.v1.Channelz"
_OPTIONS = [
    ("grpc.so_reuseport", 0),  # else a second server on the port starts silently
    ("grpc.max_receive_message_length", MESSAGE_LIMIT),
    ("grpc.max_send_message_length", MESSAGE_LIMIT),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
]


class GrpcServer:
    """One server for one or more services."""

    def __init__(
        self,
        address: Address,
        services: Sequence[tuple[Callable[[Any, Any], None], Any, str]],
        interceptors: Sequence[grpc.aio.ServerInterceptor],
        files: CertificateFiles | None,
        on_denied: Callable[[str, frozenset[PeerRole]], None],
    ) -> None:
        """Takes what to serve.

        Args:
            address: where; port 0 chooses one.
            services: add-function, servicer and full name of each.
            interceptors: for all of them.
            files: with certificates a TCP server demands mutual TLS, and the
                caller's role decides; a Unix socket is local, and its mode decides.
            on_denied: counts refusals by method and roles.
        """
        self.bound = address
        self._services = services
        self._files = None if address.is_unix else files
        self._interceptors = list(interceptors)
        if self._files is not None:
            # The last one: whoever counts calls counts the denied ones as well.
            self._interceptors.append(Authorization(on_denied))
        self._server: grpc.aio.Server | None = None
        self._health = health.aio.HealthServicer()

    async def start(self) -> None:
        """Listens and serves.

        Raises:
            Refused: the address is in use, or cannot be listened on.
        """
        _check_free(self.bound)
        server = grpc.aio.server(interceptors=self._interceptors, options=_OPTIONS)
        names = [health.SERVICE_NAME, reflection.SERVICE_NAME, _CHANNELZ_NAME]
        for add, servicer, name in self._services:
            add(servicer, server)
            names.append(name)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        channelz.add_channelz_servicer(server)
        reflection.enable_server_reflection(names, server)
        try:
            port = self._add_port(server)
        except RuntimeError as error:
            raise _unusable(self.bound, str(error)) from error
        if not self.bound.is_unix:
            self.bound = self.bound.with_port(port)
        await server.start()
        self._server = server
        for name in ("", *names):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    def _add_port(self, server: grpc.aio.Server) -> int:
        target = self.bound.grpc_target
        if self._files is None:
            return server.add_insecure_port(target)
        return server.add_secure_port(target, server_credentials(self._files))

    async def refuse_health(self) -> None:
        """Answers NOT_SERVING from here on: it will stop soon."""
        if self._server is not None:
            await self._health.enter_graceful_shutdown()

    async def stop(self, grace: float) -> None:
        """Answers NOT_SERVING, lets calls end within `grace` seconds, stops."""
        await self.refuse_health()
        if self._server is not None:
            await self._server.stop(grace)
        if self.bound.is_unix:
            Path(self.bound.path).unlink(missing_ok=True)  # noqa: ASYNC240 - instant


def _check_free(address: Address) -> None:
    """Makes sure that nobody listens; gRPC's own message would not say why."""
    if address.is_unix:
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(address.path) == 0:
                raise _unusable(address, "in use")
        return
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            in_use = error.errno == errno.EADDRINUSE
            raise _unusable(
                address, "in use" if in_use else str(error.strerror)
            ) from error


def _unusable(address: Address, why: str) -> Refused:
    return Refused(
        Reason.WRONG_STATE,
        f"grpc.listen = {str(address)!r}: {why}; stop the other service, or listen"
        " elsewhere",
    )
