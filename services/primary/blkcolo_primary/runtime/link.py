"""One WriteForward stream: carries the outbox to the secondary and acks back.

The only gRPC of the primary's data path. A link runs until it is cancelled or fails;
whoever runs it learns why from the BlkcoloError that it raises.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Protocol

import grpc

from blkcolo.errors import DataLoss, Reason, Unavailable, first_of
from blkcolo.rpc.errors import to_domain
from blkcolo.rpc.stream_bytes import encode_request
from blkcolo.rpc.stream_on_wire import decode_response
from blkcolo.stream import Ack, Hello, Mismatch, StreamFailure, Welcome
from blkcolo.v1 import stream_pb2 as pb

if TYPE_CHECKING:
    from blkcolo.addresses import Address
    from blkcolo.rpc.client import Dialer
    from blkcolo.stream import Response
    from blkcolo.wakeup import Wakeup
    from blkcolo_primary.core.outbox import Outbox

    _Call = grpc.aio.StreamStreamCall[bytes, pb.WriteForwardResponse]


_METHOD = "/blkcolo.v1.SecondaryService/WriteForward"


class LinkOwner(Protocol):
    """What a link tells its group."""

    @property
    def work(self) -> Wakeup:
        """Fires when the outbox has something to send, or VM writes begin to wait."""
        ...

    @property
    def throttled(self) -> bool:
        """True while VM writes wait: none can join a message."""
        ...

    def on_welcome(self, welcome: Welcome) -> Outbox:
        """The stream stands; returns what is to be sent."""
        ...

    def on_ack(self, ack: Ack) -> None:
        """The secondary made progress."""
        ...

    def on_mismatch(self, mismatch: Mismatch) -> None:
        """Extents differ: they are to be sent again."""
        ...


class Link:
    """One stream to one secondary."""

    def __init__(
        self,
        owner: LinkOwner,
        dialer: Dialer,
        address: Address,
        hello: Hello,
        timeout: float,
        gather: float,
    ) -> None:
        """Takes everything that a stream needs; nothing is opened yet.

        Args:
            owner: the group.
            dialer: opens the channel.
            address: the secondary's gRPC.
            hello: the first message.
            timeout: seconds without progress after which the link counts as lost.
            gather: seconds that a write may wait for others to share its message.
        """
        self._owner = owner
        self._dialer = dialer
        self._address = address
        self._hello = hello
        self._timeout = timeout
        self._gather = gather
        self._progress_at = 0.0
        self._outbox: Outbox | None = None

    async def run(self) -> None:
        """Streams until cancelled.

        Raises:
            BlkcoloError: the link is lost, and why.
        """
        async with self._dialer.open(self._address) as channel:
            # The stub's own serializer would copy each batch twice.
            call: _Call = channel.stream_stream(
                _METHOD, response_deserializer=pb.WriteForwardResponse.FromString
            )()
            try:
                outbox = await self._greet(call)
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._send(call, outbox))
                    tasks.create_task(self._receive(call))
                    tasks.create_task(self._watch(outbox))
            except* grpc.aio.AioRpcError as errors:
                raise to_domain(
                    first_of(errors, grpc.aio.AioRpcError), str(self._address)
                ) from errors
            finally:
                call.cancel()

    async def _greet(self, call: _Call) -> Outbox:
        try:
            async with asyncio.timeout(self._timeout):
                await call.write(encode_request(1, self._hello))
                answer = await self._read(call)
        except TimeoutError as error:
            raise self._silent() from error
        if not isinstance(answer, Welcome):
            raise DataLoss(
                Reason.PROTOCOL_VERSION,
                f"{self._address} answered a hello with {type(answer).__name__};"
                " run the same version on both sides",
            )
        self._progress_at = monotonic()
        return self._owner.on_welcome(answer)

    async def _read(self, call: _Call) -> Response:
        answer = await call.read()
        if answer is grpc.aio.EOF or not isinstance(answer, pb.WriteForwardResponse):
            raise self._ended()
        response = decode_response(answer)
        if isinstance(response, StreamFailure):
            raise response.error
        return response

    async def _send(self, call: _Call, outbox: Outbox) -> None:
        """Sends until the call is over; why it is over, `_receive` learns."""
        while not call.done():
            if not outbox.empty:
                await self._gather_more(outbox)
            taken = outbox.take()
            if taken is None:
                await self._owner.work.wait()
                continue
            if outbox.empty:
                self._note_progress(outbox)
            try:
                await call.write(encode_request(*taken))
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                return

    async def _gather_more(self, outbox: Outbox) -> None:
        """Lets more writes join the batch, where they can and nothing urgent waits."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._gather
        while not (outbox.urgent or self._owner.throttled):
            if (left := until - loop.time()) <= 0:
                return
            await self._owner.work.wait(left)

    def _note_progress(self, outbox: Outbox) -> None:
        """Waiting starts with the first message that is not applied yet."""
        if outbox.applied_seq >= outbox.last_seq - 1:
            self._progress_at = monotonic()

    async def _receive(self, call: _Call) -> None:
        while True:
            answer = await self._read(call)
            self._progress_at = monotonic()
            if isinstance(answer, Ack):
                self._owner.on_ack(answer)
            elif isinstance(answer, Mismatch):
                self._owner.on_mismatch(answer)

    async def _watch(self, outbox: Outbox) -> None:
        """Ends a link whose secondary stopped answering (the peer that hangs)."""
        while True:
            idle = self.idle_seconds(outbox)
            if idle > self._timeout:
                raise self._silent()
            await asyncio.sleep(max(self._timeout - idle, 0.05) / 4)

    def idle_seconds(self, outbox: Outbox) -> float:
        """How long nothing came back while something is under way; any thread."""
        now = monotonic()
        if outbox.drained:
            self._progress_at = now
        return now - self._progress_at

    def _silent(self) -> Unavailable:
        return Unavailable(
            Reason.LINK_LOST,
            f"secondary {self._address} made no progress for {self._timeout:g} s;"
            " look at it and at the network",
        )

    def _ended(self) -> Unavailable:
        return Unavailable(
            Reason.LINK_LOST,
            f"secondary {self._address} ended the stream; look at its log",
        )
