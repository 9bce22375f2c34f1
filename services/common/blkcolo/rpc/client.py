"""Channels and calls with the limits and deadlines that all callers share."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import grpc

from blkcolo.errors import Reason, Refused
from blkcolo.rpc.credentials import channel_credentials
from blkcolo.rpc.errors import to_domain
from blkcolo.stream import MESSAGE_LIMIT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from blkcolo.addresses import Address
    from blkcolo.security.certificate_files import CertificateFiles
    from blkcolo.security.certificates import Certificates

_OPTIONS = [
    ("grpc.max_receive_message_length", MESSAGE_LIMIT),
    ("grpc.max_send_message_length", MESSAGE_LIMIT),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.write_buffer_size", 8 << 20),
    # While a peer is away calls fail at once, and for so long behind its return.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.use_local_subchannel_pool", 1),  # no shared back-off with a dead channel
    ("grpc.enable_http_proxy", 0),
]

#: Seconds that calls get whose channel is replaced; longer than any deadline.
_RETIRE_SECONDS = 150.0

Stub = TypeVar("Stub")
Q = TypeVar("Q", contravariant=True)
A = TypeVar("A", covariant=True)


class Method(Protocol[Q, A]):
    """A unary call of a stub."""

    def __call__(self, request: Q, *, timeout: float) -> Awaitable[A]:
        """Calls."""
        ...


class Dialer:
    """Opens channels by the rule of this process: TLS, or plain text on this machine.

    With certificates every TCP channel is mutual TLS, on loopback as well; Unix sockets
    are local and never are. Without, other machines are out of reach unless `insecure`.
    """

    def __init__(
        self, files: CertificateFiles | None = None, *, insecure: bool = False
    ) -> None:
        """Takes the own certificates, if there are any."""
        self._files = files
        self._insecure = insecure

    @property
    def certificates(self) -> Certificates | None:
        """What a channel that is opened now would use."""
        return self._files.current if self._files is not None else None

    def check(self, address: Address) -> None:
        """Makes sure that `open` may be called.

        Raises:
            Refused: it would be plain text beyond this machine.
        """
        if self._files is None and not (address.is_local or self._insecure):
            raise Refused(
                Reason.INSECURE,
                f"{address} is another machine, and there is no TLS; name CA,"
                " certificate and key ([tls], or --ca --cert --key; `blkcolo certs"
                " init` makes them for a lab), or allow plain text (insecure)",
            )

    def open(self, address: Address) -> grpc.aio.Channel:
        """Opens a channel; it connects when it is first used.

        Raises:
            Refused: it would be plain text beyond this machine.
        """
        self.check(address)
        if self._files is None or address.is_unix:
            return grpc.aio.insecure_channel(address.grpc_target, options=_OPTIONS)
        credentials = channel_credentials(self._files)
        return grpc.aio.secure_channel(
            address.grpc_target, credentials, options=_OPTIONS
        )


class PeerChannel(Generic[Stub]):
    """A lasting channel to one peer, opened anew when the own certificates change."""

    def __init__(
        self,
        dialer: Dialer,
        address: Address,
        make_stub: Callable[[grpc.aio.Channel], Stub],
    ) -> None:
        """Opens the channel; raises Refused as `Dialer.open` does."""
        self._dialer = dialer
        self._address = address
        self._make_stub = make_stub
        self._retired: set[asyncio.Task[None]] = set()
        self._open()

    def _open(self) -> None:
        self._opened_with = self._dialer.certificates
        self._channel = self._dialer.open(self._address)
        self._stub = self._make_stub(self._channel)

    @property
    def stub(self) -> Stub:
        """For the next call; calls under way on an older channel end in peace."""
        if self._dialer.certificates is not self._opened_with:
            retired = asyncio.create_task(self._channel.close(_RETIRE_SECONDS))
            self._retired.add(retired)
            retired.add_done_callback(self._retired.discard)
            self._open()
        return self._stub

    async def close(self) -> None:
        """Closes the channel, and ends what older ones still do."""
        for retired in list(self._retired):
            retired.cancel()
        await asyncio.gather(*self._retired, return_exceptions=True)
        await self._channel.close()


async def call(method: Method[Q, A], request: Q, timeout: float, peer: str) -> A:
    """Calls within `timeout` seconds.

    Raises:
        BlkcoloError: what the callee raised, or why it did not answer.
    """
    try:
        return await method(request, timeout=timeout)
    except grpc.aio.AioRpcError as error:
        raise to_domain(error, peer) from error
