"""The stream at run time: one task takes messages in, another applies them.

All disk work but fdatasync and unlink runs on the event loop's thread, between two
awaits: so a reader of the view never sees half a step. A step is at most a few MiB.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from blkcolo.errors import BlkcoloError, Reason, Unavailable
from blkcolo.stream import StreamFailure, Verify
from blkcolo_secondary.buffer.repair import Doubt
from blkcolo_secondary.buffer.save_and_write import Sync
from blkcolo_secondary.runtime.inbox import Inbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from blkcolo.stream import Hello, Request, Response
    from blkcolo.wakeup import Wakeup
    from blkcolo_secondary.core.replica import Replica
    from blkcolo_secondary.runtime.layer_check import LayerCheck
    from blkcolo_secondary.runtime.removals import Removals
    from blkcolo_secondary.runtime.slow_work import SlowWork
    from blkcolo_secondary.stream.receiver import Receiver

_log = structlog.get_logger(__name__)


class ReceptionRun:
    """Runs the streams of one group; the newest is the one that counts.

    Attributes:
        received_bytes: taken into memory since the service started.
    """

    def __init__(
        self,
        replica: Replica,
        slow: SlowWork,
        removals: Removals,
        layer_check: LayerCheck,
        *,
        changed: Wakeup,
        queue_bytes: int,
    ) -> None:
        """No stream came yet.

        Args:
            replica: the core.
            slow: where a step is made durable.
            removals: what has to be gone when a stream starts.
            layer_check: begins behind each complete verify.
            changed: fired when a message is applied, and when a stream starts or ends.
            queue_bytes: bound of what is received and not yet applied.
        """
        self.received_bytes = 0
        self._replica = replica
        self._core = replica.reception
        self._slow = slow
        self._removals = removals
        self._layer_check = layer_check
        self._changed = changed
        self._queue_bytes = queue_bytes
        self._inbox: Inbox | None = None

    async def receive(
        self, hello: Hello, requests: AsyncIterator[tuple[int, Request]]
    ) -> AsyncIterator[Response]:
        """Serves one stream, from the welcome on; ends when it cannot go on.

        Raises:
            BlkcoloError: the hello was refused.
        """
        await self._removals.ended()  # the core does what is left of it on this thread
        welcome = self._core.hello(hello)
        stream = self._core.stream
        if stream is None:
            raise Unavailable(Reason.LINK_LOST, f"group {hello.group}: stream lost")
        log = _log.bind(group=hello.group, generation=hello.generation)
        log.info("stream started", epoch=welcome.epoch, committed=welcome.committed)
        self._changed.fire()
        self.interrupt()
        inbox = self._inbox = Inbox(self._queue_bytes)
        reader = asyncio.create_task(
            self._read(stream, requests, inbox), name=f"read {hello.group}"
        )
        try:
            yield welcome
            async for answer in self._apply_all(stream, inbox):
                yield answer
        except BlkcoloError as error:
            log.warning("stream failed", reason=error.reason.name, error=str(error))
            yield StreamFailure(error)
        finally:
            reader.cancel()
            self._core.ended(stream)
            self._changed.fire()
            log.info("stream ended", applied_seq=stream.applied)

    def interrupt(self) -> None:
        """Applies nothing more of the newest stream: it was stopped or replaced."""
        if self._inbox is not None:
            self._inbox.interrupt()

    def nudge(self) -> None:
        """Tells the primary how things stand, though nothing came."""
        if self._inbox is not None:
            self._inbox.nudge()

    async def _read(
        self,
        stream: Receiver,
        requests: AsyncIterator[tuple[int, Request]],
        inbox: Inbox,
    ) -> None:
        """Takes messages into memory as long as there is room for them."""
        failure: BlkcoloError | None = None
        try:
            async for seq, message in requests:
                stream.receive(seq)
                self.received_bytes += inbox.put(seq, message)
                await inbox.room()
        except BlkcoloError as error:
            self._core.fault(stream, error)
            failure = error
        finally:
            inbox.close(failure)

    async def _apply_all(
        self, stream: Receiver, inbox: Inbox
    ) -> AsyncIterator[Response]:
        while taken := await inbox.take():
            seq, message = taken
            if message is None:
                yield self._core.ack(stream)
                continue
            for answer in self._core.apply(stream, seq, message):
                if isinstance(answer, Sync):
                    await self._sync_for(stream, answer)
                elif isinstance(answer, Doubt):
                    self._tell(answer)
                elif answer is not None:
                    yield answer
                else:
                    await asyncio.sleep(0)
            inbox.done(message)
            if isinstance(message, Verify) and message.complete:
                self._layer_check.start()
            self._changed.fire()
            yield self._core.ack(stream)

    def _tell(self, doubt: Doubt) -> None:
        group = self._replica.group
        _log.error("undo layer in doubt", group=group, epoch=doubt.epoch)
        self._removals.start()

    async def _sync_for(self, stream: Receiver, sync: Sync) -> None:
        """What is not durable cannot be acknowledged: the stream is lost."""
        try:
            await self._slow.carry_out(sync)
        except BlkcoloError as error:
            self._core.fault(stream, error)
            raise
