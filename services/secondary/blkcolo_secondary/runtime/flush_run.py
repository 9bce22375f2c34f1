"""The flush at run time: one task that takes the core's steps, one after the other."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from blkcolo.errors import BlkcoloError, DataLoss, Reason
from blkcolo_secondary.buffer.save_and_write import Sync

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from blkcolo_secondary.core.replica import Replica

_log = structlog.get_logger(__name__)


class FlushRun:
    """Brings the disk of one group to what a stop asked for.

    Attributes:
        flushed_bytes: moved since the service started.
        total_bytes: upper bound of what the newest flush has to move.
    """

    def __init__(
        self,
        replica: Replica,
        carry_out: Callable[[Sync], Awaitable[None]],
        ended: Callable[[], None],
    ) -> None:
        """Nothing is under way.

        Args:
            replica: the core.
            carry_out: makes durable what a step asks for; raises BlkcoloError.
            ended: called when a flush ended or paused.
        """
        self.flushed_bytes = 0
        self.total_bytes = 0
        self._moved_bytes = 0
        self._replica = replica
        self._carry_out = carry_out
        self._ended = ended
        self._task: asyncio.Task[None] | None = None

    @property
    def remaining_bytes(self) -> int:
        """Upper bound of the bytes that it still has to move."""
        if not self._replica.flushing:
            return 0
        return max(0, self.total_bytes - self._moved_bytes)

    def start(self) -> None:
        """Flushes, or goes on, if steps are due and none is under way."""
        if not self._replica.flushing or (self._task and not self._task.done()):
            return
        self._replica.standing.failure = None
        buffer = self._replica.buffer
        self.total_bytes = buffer.buffer_bytes + buffer.overlays.bytes_held
        self._moved_bytes = 0
        self._task = asyncio.create_task(
            self._run(), name=f"flush {self._replica.group}"
        )

    async def _run(self) -> None:
        """Flushes step by step; a disk error pauses it until the next call."""
        replica = self._replica
        log = _log.bind(group=replica.group, generation=replica.generation)
        log.info("flush started", buffer_bytes=replica.buffer.buffer_bytes)
        try:
            for step in replica.flush_steps():
                if isinstance(step, Sync):
                    await self._carry_out(step)
                    continue
                self.flushed_bytes += step
                self._moved_bytes += step
                await asyncio.sleep(0)
        except BlkcoloError as error:
            replica.standing.failure = error
        self._ended()
        if replica.failure is not None:
            log.error("flush paused", error=str(replica.failure))
        else:
            log.info("flush ended", state=replica.state.name)

    async def join(self) -> None:
        """Waits for the end; cancelled, the flush goes on.

        Raises:
            BlkcoloError: it paused; says why.
        """
        if self._task is not None:
            await asyncio.shield(self._task)
        if self._replica.flushing:
            raise self._replica.failure or DataLoss(
                Reason.DISK_ERROR, f"group {self._replica.group}: the flush failed"
            )

    async def cancel(self) -> None:
        """Ends the task; the next start of the service goes on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
