"""Dropped files are closed and removed off the critical path."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from blkcolo_secondary.buffer.buffer_files import Discarded
    from blkcolo_secondary.core.replica import Replica
    from blkcolo_secondary.runtime.slow_work import SlowWork

_log = structlog.get_logger(__name__)


class Removals:
    """The removals of one group that are under way."""

    def __init__(self, replica: Replica, slow: SlowWork) -> None:
        """Nothing is under way."""
        self._replica = replica
        self._slow = slow
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begins to remove what was dropped up to now."""
        dropped = self._replica.dropped.take()
        if dropped:
            task = asyncio.create_task(self._remove(dropped), name="remove files")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _remove(self, dropped: Discarded) -> None:
        try:
            await self._slow.on_buffer(dropped.close)
            await self._slow.on_removal(dropped.remove)
        except OSError as error:
            # Harmless but for the space: the next start removes them.
            _log.error(
                "dropped files stay until the next start",
                group=self._replica.group,
                error=str(error),
            )

    async def ended(self) -> None:
        """Waits until nothing is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)
