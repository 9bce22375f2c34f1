"""One NBD connection: the asyncio edge of handshake, requests and replies.

A BufferedProtocol: the kernel fills buffers that are used again and again; every whole
request in them is handled in one pass, and all replies of a pass leave in one
`writelines`. Parsing stops, and with it reading, while
  - the export wants no more writes (`admit`),
  - the client does not read its replies (`pause_writing`),
  - too many requests of this connection wait for the export.
So a slow client, or a slow disk behind it, holds up its own connection only.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from time import perf_counter
from typing import TYPE_CHECKING, cast

import structlog

from blkcolo.nbd import replies, requests
from blkcolo.nbd.busy_poll import BusyPoll
from blkcolo.nbd.commands import carry_out
from blkcolo.nbd.constants import Command, CommandFlag, NbdError
from blkcolo.nbd.failure_log import FailureLog
from blkcolo.nbd.handshake import Handshake, State
from blkcolo.nbd.receive_buffer import ReceiveBuffer
from blkcolo.nbd.request_metrics import VolumeRequests
from blkcolo.nbd.requests import WRITES, ProtocolViolationError, Request

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from blkcolo.nbd.commands import Outcome
    from blkcolo.nbd.export import Export
    from blkcolo.nbd.handshake import Session
    from blkcolo.nbd.request_metrics import RequestMetrics
    from blkcolo.nbd.tls import NbdTls

_log = structlog.get_logger(__name__)

_WRITE, _FUA = int(Command.WRITE), int(CommandFlag.FUA)
#: Replies gathered in one pass before they are written, in bytes.
_GATHER = 4 << 20
#: Requests of one connection that wait for the export.
_MAX_WAITING = 1024


class Connection(asyncio.BufferedProtocol):
    """One client."""

    def __init__(
        self,
        exports: Mapping[str, Export],
        connections: set[Connection],
        handshake_timeout: float,
        metrics: RequestMetrics,
        tls: NbdTls | None = None,
        busy_poll: float = 0.0,
    ) -> None:
        """Starts the handshake.

        Args:
            exports: what is offered.
            connections: the server's list, kept up to date by the connection.
            handshake_timeout: seconds; 0 drops the client at once.
            metrics: where requests are counted.
            tls: what STARTTLS, then mandatory, upgrades to.
            busy_poll: seconds; see `BusyPoll`.
        """
        self.closed = asyncio.Event()
        self._connections = connections
        self._timeout = handshake_timeout
        self._metrics = metrics
        self._requests = VolumeRequests()  # of nobody, until an export is chosen
        self._pass_began = 0.0
        self._tls = tls
        self._upgrade: asyncio.Task[None] | None = None
        self._handshake = Handshake(exports, tls_required=tls is not None)
        self._session: Session | None = None
        self._received = ReceiveBuffer()
        self._out: list[bytes | bytearray] = []
        self._out_bytes = 0
        #: Requests that this pass answered, by their kind.
        self._answered: Counter[int] = Counter()
        self._waiting = 0
        self._client_slow = self._gated = False
        self._finishing = self._input_ended = False
        self._in_pass = self._flush_due = False
        self._loop = asyncio.get_running_loop()
        self._failures = FailureLog(self._loop.time)
        self._busy_poll = BusyPoll(busy_poll, self._loop.call_soon)

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there."""
        self._transport = cast("asyncio.Transport", transport)
        if not self._timeout:
            self._drop("max_connections")
            return
        self._connections.add(self)
        self._transport.set_write_buffer_limits(high=_GATHER)
        peer = transport.get_extra_info("socket")
        if peer is not None:  # a client's machine that is gone gives its place back
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._deadline = self._loop.call_later(
            self._timeout, self._drop, "handshake deadline"
        )
        self._send_handshake()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone; what the export still does for it goes on."""
        del exc
        if self in self._connections:
            self._connections.discard(self)
            self._deadline.cancel()
        self._finishing = True
        if self._session is not None:
            self._session.export.closed()
        self.closed.set()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the kernel may put bytes."""
        del sizehint
        return self._received.room()

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes came."""
        self._received.received(nbytes)
        if self._session is None:
            self._negotiate()
        if self._session is not None:
            self._run()

    def eof_received(self) -> bool:
        """The client sends no more; it may still want its replies."""
        self._input_ended = True
        self._close_when_done()
        return self._upgrade is None  # TLS has no half-closed connections

    def pause_writing(self) -> None:
        """The client does not read its replies."""
        self._client_slow = True

    def resume_writing(self) -> None:
        """It reads again."""
        self._client_slow = False
        self._run()

    # Life.

    def finish(self) -> None:
        """Takes no more requests; closes when all replies are out."""
        self._finishing = True
        self._transport.pause_reading()
        self._close_when_done()

    def abort(self) -> None:
        """Drops the client."""
        self._transport.abort()

    def _drop(self, reason: str) -> None:
        peer = self._transport.get_extra_info("peername")
        volume = self._session.export.name if self._session is not None else None
        _log.warning("connection dropped", reason=reason, peer=peer, volume=volume)
        self._transport.abort()

    def _close_when_done(self) -> None:
        held = self._gated or self._client_slow
        ended = self._finishing or (self._input_ended and not held)
        if ended and not self._waiting and not self._in_pass:
            self._write_out()
            self._transport.close()
            # Whoever does not take the last replies is not waited for.
            self._deadline.cancel()
            self._deadline = self._loop.call_later(self._timeout, self.abort)

    # Handshake.

    def _negotiate(self) -> None:
        handshake = self._handshake
        handshake.receive(self._received.take_all())
        self._send_handshake()
        if handshake.state is State.CLOSED:
            self.finish()
        elif handshake.state is State.UPGRADING and self._tls is not None:
            self._transport.pause_reading()  # what comes next is TLS's
            self._upgrade = self._loop.create_task(self._secure(self._tls))
        elif handshake.state is State.TRANSMISSION:
            self._session = handshake.session
            if self._session is not None:
                self._session.export.opened()
                self._requests = self._metrics.of(self._session.export.name)
            self._deadline.cancel()
            self._received.put_back(handshake.rest)

    async def _secure(self, tls: NbdTls) -> None:
        """Goes on behind TLS; the deadline, or a stop, aborts the transport below."""
        try:
            transport = await tls.upgrade(self._transport, self)
        except OSError as error:
            _log.warning("connection dropped", reason=f"TLS handshake: {error}")
            self._transport.abort()
            self.connection_lost(error)
            return
        self._transport = transport
        self._transport.set_write_buffer_limits(high=_GATHER)
        self._handshake.secured(tls.refusal(transport))

    def _send_handshake(self) -> None:
        self._transport.write(bytes(self._handshake.output))
        self._handshake.output.clear()

    # Requests.

    @property
    def _held_up(self) -> bool:
        return (
            self._client_slow
            or self._gated
            or self._finishing
            or self._waiting >= _MAX_WAITING
        )

    def _run(self) -> None:
        """Handles every whole request in the buffer."""
        if self._in_pass or self._session is None or self._transport.is_closing():
            return
        self._in_pass = True
        self._pass_began = perf_counter()
        try:
            self._next_bursts(self._session)
            while not self._held_up and self._next_request(self._session):
                if self._out_bytes >= _GATHER:
                    self._write_out()
        except ProtocolViolationError as error:
            self._drop(str(error))
            return
        finally:
            self._in_pass = False
        self._write_out()
        self._observe_answered()
        self._steer_reading()
        self._close_when_done()

    def _steer_reading(self) -> None:
        if self._held_up:
            self._transport.pause_reading()
        elif not self._transport.is_closing() and not self._input_ended:
            self._transport.resume_reading()

    def _next_bursts(self, session: Session) -> None:
        """Handles small writes together, as long as many come one behind the other."""
        write_each = session.export.write_each
        if write_each is None:
            return
        while not self._held_up:
            burst = self._received.next_burst(session.size)
            if burst is None:
                return
            count = write_each(burst.offsets, burst.pieces)
            if count:
                self._put((burst.replies(count),))
                self._answered[_WRITE] += count
                self._received.consume_of(burst, count)
            if count < len(burst.offsets):
                return

    def _next_request(self, session: Session) -> bool:
        """Handles one request; False if no other whole one can be there."""
        request = self._received.next_request()
        if request is None:
            return False
        if not self._handle(session, request, self._received.payload):
            return False
        return self._received.consume()

    def _handle(self, session: Session, request: Request, payload: memoryview) -> bool:
        """Checks and starts a request; False if it must wait where it is."""
        error = requests.refusal(
            request,
            size=session.size,
            read_only=session.export.read_only,
            structured=session.structured,
            block_status=session.block_status,
        )
        if error is not None:
            self._reply_error(session, request, error)
            return True
        if request.kind in WRITES and self._must_wait(session.export, request):
            return False
        outcome: Outcome
        try:
            if request.kind == _WRITE:
                fua = bool(request.flags & _FUA)
                outcome = session.export.write(request.offset, payload, fua=fua)
                if outcome is None:
                    outcome = (replies.simple(request.cookie),)
            else:
                outcome = carry_out(session, request)
        except OSError as os_error:
            self._failures.failed(session.export.name, request, os_error)
            self._reply_error(session, request, replies.error_number(os_error))
        except MemoryError:
            self._reply_error(session, request, NbdError.ENOMEM)
        else:
            self._reply(session, request, outcome)
        return True

    def _must_wait(self, export: Export, request: Request) -> bool:
        gate = export.admit(request.offset, request.length)
        if gate is None:
            return False
        self._gated = True
        gate.add_done_callback(self._gate_opened)
        return True

    def _gate_opened(self, gate: asyncio.Future[None]) -> None:
        del gate
        self._gated = False
        self._run()

    # Replies.

    def _reply(self, session: Session, request: Request, outcome: Outcome) -> None:
        if isinstance(outcome, asyncio.Future):
            self._reply_later(session, request, outcome)
        elif outcome is None:
            self._finishing = True
        else:
            self._put(outcome)
            self._answered[request.kind] += 1

    def _observe_answered(self) -> None:
        """The replies of a pass left together: one look at the clock is enough."""
        ended = perf_counter()
        taken = ended - self._pass_began
        answered = 0
        for kind, count in self._answered.items():
            self._requests.seconds[kind].observe(taken, count)
            answered += count
        self._answered.clear()
        if answered:
            alone = answered == 1 and not self._waiting and self._received.empty
            alone = alone and not self._held_up
            self._busy_poll.answered(self._pass_began, ended, alone=alone)

    def _reply_error(self, session: Session, request: Request, error: int) -> None:
        self._requests.refused(request.kind, error)
        structured = request.kind in (Command.READ, Command.BLOCK_STATUS)
        if session.structured and structured:
            self._put([replies.error_chunk(request.cookie, error)])
        else:
            self._put([replies.simple(request.cookie, error)])

    def _reply_later(
        self, session: Session, request: Request, wait: asyncio.Future[None]
    ) -> None:
        self._waiting += 1
        began = self._pass_began

        def done(finished: asyncio.Future[None]) -> None:
            self._waiting -= 1
            error = 0
            if finished.cancelled():
                error = NbdError.ESHUTDOWN
            elif (failure := finished.exception()) is not None:
                if not isinstance(failure, OSError):
                    _log.error("program error", exc_info=failure)
                    failure = OSError()
                self._failures.failed(session.export.name, request, failure)
                error = replies.error_number(failure)
            self._put([replies.simple(request.cookie, error)])
            self._requests.seconds[request.kind].observe(perf_counter() - began)
            if error:
                self._requests.refused(request.kind, error)
            self._flush_soon()

        wait.add_done_callback(done)

    def _put(self, parts: Sequence[bytes | bytearray]) -> None:
        self._out += parts
        self._out_bytes += sum(map(len, parts))

    def _flush_soon(self) -> None:
        """Late replies of one turn of the loop leave together."""
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        self._write_out()
        self._run()
        self._close_when_done()

    def _write_out(self) -> None:
        if self._out and not self._transport.is_closing():
            self._transport.writelines(self._out)
        self._out = []
        self._out_bytes = 0
