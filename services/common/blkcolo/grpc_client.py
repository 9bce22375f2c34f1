"""Channels and calls with the limits and deadlines that all callers share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

import grpc

from blkcolo.grpc_errors import to_domain
from blkcolo.grpc_server import MESSAGE_LIMIT

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from blkcolo.addresses import Address

_OPTIONS = [
    ("grpc.max_receive_message_length", MESSAGE_LIMIT),
    ("grpc.max_send_message_length", MESSAGE_LIMIT),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.write_buffer_size", 8 << 20),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.use_local_subchannel_pool", 1),  # no shared back-off with a dead channel
    ("grpc.enable_http_proxy", 0),
]

Q = TypeVar("Q", contravariant=True)
A = TypeVar("A", covariant=True)


class Method(Protocol[Q, A]):
    """A unary call of a stub."""

    def __call__(self, request: Q, *, timeout: float) -> Awaitable[A]:
        """Calls."""
        ...


def open_channel(address: Address) -> grpc.aio.Channel:
    """Opens a channel; it connects when it is first used."""
    return grpc.aio.insecure_channel(address.grpc_target, options=_OPTIONS)


async def call(method: Method[Q, A], request: Q, timeout: float, peer: str) -> A:
    """Calls within `timeout` seconds.

    Raises:
        BlkcoloError: what the callee raised, or why it did not answer.
    """
    try:
        return await method(request, timeout=timeout)
    except grpc.aio.AioRpcError as error:
        raise to_domain(error, peer) from error
