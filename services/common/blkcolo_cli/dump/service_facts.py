"""What the services say: their metrics, and the states of groups."""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
import urllib.request
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.json_format import MessageToDict

from blkcolo.errors import BlkcoloError
from blkcolo.rpc.client import Dialer, call
from blkcolo.rpc.errors import to_domain
from blkcolo.security.certificate_files import CertificateFiles
from blkcolo.v1 import coordinator_pb2 as pb
from blkcolo.v1 import primary_pb2, primary_pb2_grpc, secondary_pb2, secondary_pb2_grpc
from blkcolo_cli.coordinator_client import ASK_SECONDS, Coordinator, connect

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from google.protobuf.message import Message

    from blkcolo.addresses import Address
    from blkcolo.process.settings import MetricsSettings, ServiceSettings

    _Json = dict[str, Any]


def dialer_of(settings: ServiceSettings) -> Dialer:
    """Calls as the service itself would; raises Invalid for bad certificates."""
    files = CertificateFiles(settings.tls) if settings.tls is not None else None
    return Dialer(files, insecure=settings.insecure)


def scrape(settings: ServiceSettings, metrics: MetricsSettings) -> str:
    """The service's metrics.

    Raises:
        OSError: it does not answer.
    """
    address, tls = metrics.listen.from_here, settings.tls
    secured = tls is not None and (
        metrics.tls == "always"
        or (metrics.tls == "auto" and not metrics.listen.is_local)
    )
    context: ssl.SSLContext | None = None
    if secured and tls is not None:
        context = ssl.create_default_context(cafile=str(tls.ca))
        context.load_cert_chain(tls.cert, tls.key)
    url = f"{'https' if context else 'http'}://{address}/metrics"
    try:
        answer = urllib.request.urlopen(url, timeout=ASK_SECONDS, context=context)  # noqa: S310 - http(s) only
        with answer:
            return str(answer.read().decode())
    except http.client.HTTPException as error:
        raise OSError(f"{url}: {error!r}") from error  # noqa: TRY003 - told in the bundle
    except OSError as error:
        raise OSError(f"{url}: {error}") from error  # noqa: TRY003 - told in the bundle


def status_of_groups(address: Address, dialer: Dialer) -> str:
    """All groups as the coordinator sees them; raises BlkcoloError."""

    async def ask(coordinator: Coordinator) -> list[_Json]:
        return [_plain(group) for group in await coordinator.list_groups()]

    return _asked(address, dialer, ask)


def checkpoints(address: Address, dialer: Dialer) -> str:
    """What failover can lead to, group by group; raises BlkcoloError."""
    request = pb.ListCheckpointsRequest
    return _asked(address, dialer, partial(_of_each, "ListCheckpoints", request))


def explained(address: Address, dialer: Dialer) -> str:
    """What each verb needs, group by group; raises BlkcoloError."""
    return _asked(address, dialer, partial(_of_each, "Explain", pb.ExplainRequest))


def events(address: Address, dialer: Dialer) -> str:
    """All that the coordinator still knows to have happened; raises BlkcoloError."""

    async def ask(coordinator: Coordinator) -> list[_Json]:
        answers = coordinator.stub.WatchEvents(
            pb.WatchEventsRequest(), timeout=ASK_SECONDS
        )
        try:
            return [_plain(each) async for part in answers for each in part.events]
        except grpc.aio.AioRpcError as error:
            raise to_domain(error, coordinator.peer) from error

    return _asked(address, dialer, ask)


async def _of_each(
    method: str, request: Callable[..., Message], coordinator: Coordinator
) -> list[_Json]:
    """One answer a group, or why there is none: the others' are to be had anyway."""
    found = []
    for group in await coordinator.list_groups():
        name = group.spec.name
        asked = getattr(coordinator.stub, method)
        try:
            answer = await call(
                asked, request(group=name), ASK_SECONDS, coordinator.peer
            )
        except BlkcoloError as error:
            found.append({"group": name, "error": str(error)})
        else:
            found.append({"group": name, **_plain(answer)})
    return found


def _asked(
    address: Address,
    dialer: Dialer,
    ask: Callable[[Coordinator], Awaitable[list[_Json]]],
) -> str:
    async def connected() -> list[_Json]:
        async with connect(address, dialer) as coordinator:
            return await ask(coordinator)

    return json.dumps(asyncio.run(connected()), indent=2)


def node_status(address: Address, dialer: Dialer) -> str:
    """A node's groups in either role, as it sees them itself; raises BlkcoloError."""

    async def connected() -> dict[str, _Json]:
        async with dialer.open(address) as channel:
            forward: Any = primary_pb2_grpc.PrimaryServiceStub(channel)
            replica: Any = secondary_pb2_grpc.SecondaryServiceStub(channel)
            asked = (
                (forward, primary_pb2.PrimaryServiceGetStatusRequest()),
                (replica, secondary_pb2.SecondaryServiceGetStatusRequest()),
            )
            answers = [
                await call(stub.GetStatus, request, ASK_SECONDS, str(address))
                for stub, request in asked
            ]
        names = ("primary", "secondary")
        return {n: _plain(a) for n, a in zip(names, answers, strict=True)}

    return json.dumps(asyncio.run(connected()), indent=2)


def _plain(message: Message) -> _Json:
    return MessageToDict(
        message,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )
