"""Makes marks of the intent log durable before their writes (`durability: host`).

One fdatasync at a time; marks that come meanwhile share the next one. So a region
costs one fdatasync, and a burst of new regions costs two.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from blkcolo.errors import from_os_error

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from blkcolo.errors import BlkcoloError
    from blkcolo_primary.forwarder_core import ForwarderCore


class IntentSync:
    """The durable marks of one group."""

    def __init__(
        self,
        core: ForwarderCore,
        thread: Executor,
        lose: Callable[[BlkcoloError], None],
    ) -> None:
        """Takes the group.

        Args:
            core: its core.
            thread: runs its fdatasync.
            lose: gives the stream up, and says why.
        """
        self._core = core
        self._thread = thread
        self._lose = lose
        self._failed = False
        self._running: asyncio.Future[None] | None = None
        self._next: asyncio.Future[None] | None = None

    def wait_for(
        self, volume: int, offset: int, length: int
    ) -> asyncio.Future[None] | None:
        """Marks an extent; None if its marks are durable, or cannot be made so.

        The write itself then meets the same refusal.
        """
        core = self._core
        try:
            core.intend(volume, offset, length)
        except OSError:
            return None
        failed, self._failed = self._failed, False
        if failed or not core.intent.unsynced(volume, offset, length):
            return None
        if self._running is None:
            return self._start()
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        return self._next

    async def idle(self) -> None:
        """Waits until no fdatasync runs."""
        while self._running is not None:
            await asyncio.wait([self._running])

    def _start(self) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        intent = self._core.intent
        intent.start_sync()
        running = self._running = loop.create_future()
        work = loop.run_in_executor(self._thread, intent.sync)

        def done(finished: asyncio.Future[None]) -> None:
            error = None if finished.cancelled() else finished.exception()
            intent.end_sync(durable=error is None)
            self._failed = error is not None
            if isinstance(error, OSError):
                self._lose(from_os_error(error, "syncing the intent log"))
            self._running = None
            following, self._next = self._next, None
            if following is not None:
                self._start().add_done_callback(lambda _: _end(following))
            _end(running)

        work.add_done_callback(done)
        return running


def _end(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
