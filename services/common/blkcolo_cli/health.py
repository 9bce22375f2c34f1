"""`blkcolo health`: asks a service of this machine how it is, for health checks."""

from __future__ import annotations

import asyncio
from pathlib import Path  # noqa: TC003 - the command line reads it
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from grpc_health.v1 import health_pb2, health_pb2_grpc

from blkcolo.errors import Reason, Unavailable
from blkcolo.process.settings import load
from blkcolo.rpc.client import Dialer, call
from blkcolo.security.certificate_files import CertificateFiles

if TYPE_CHECKING:
    from blkcolo.addresses import Address
    from blkcolo_coordinator.settings import CoordinatorSettings
    from blkcolo_node.settings import PrimarySettings, SecondarySettings

_ASK_SECONDS = 3.0


def health(
    service: Literal["primary", "secondary", "coordinator"],
    *,
    config: Annotated[Path | None, Parameter(help="The service's TOML file.")] = None,
) -> None:
    """Ask the service of this configuration whether it serves (grpc.health.v1).

    Exit code 0 if it does; 1 while it stops; 3 where it does not answer.
    """
    settings = _settings(service, config)
    files = CertificateFiles(settings.tls) if settings.tls is not None else None
    dialer = Dialer(files, insecure=settings.insecure)
    asyncio.run(_check(dialer, settings.grpc.listen.from_here))


def _settings(
    service: str, config: Path | None
) -> CoordinatorSettings | PrimarySettings | SecondarySettings:
    """Imports only what is asked for, since a health check comes every few seconds."""
    if service == "coordinator":
        from blkcolo_coordinator import settings as coordinator  # noqa: PLC0415 - slow

        return load(coordinator.CoordinatorSettings, config)
    from blkcolo_node import settings as node  # noqa: PLC0415 - slow

    if service == "primary":
        return load(node.PrimarySettings, config)
    return load(node.SecondarySettings, config)


async def _check(dialer: Dialer, address: Address) -> None:
    async with dialer.open(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = await call(
            stub.Check,  # type: ignore[attr-defined] # missing in the stubs
            health_pb2.HealthCheckRequest(),
            _ASK_SECONDS,
            str(address),
        )
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        said = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
        raise Unavailable(
            Reason.STOPPING, f"{address} says {said}; wait for it, or look at its log"
        )
