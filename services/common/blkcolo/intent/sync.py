"""Makes marks of the intent log durable before their writes (`durability: host`).

One fdatasync at a time; marks that come meanwhile share the next one. So a region
costs one fdatasync, and a burst of new regions costs two.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from blkcolo.intent.log import IntentLog


class IntentSync:
    """The durable marks of one group."""

    def __init__(
        self,
        intent: IntentLog,
        mark: Callable[[int, int, int], bool],
        run: Callable[[Callable[[], None]], asyncio.Future[None]],
        on_failure: Callable[[OSError], None],
    ) -> None:
        """Takes the log.

        Args:
            intent: the log.
            mark: marks volume, offset and length in it.
            run: runs its fdatasync on a thread.
            on_failure: learns why that failed.
        """
        self._intent = intent
        self._mark = mark
        self._run = run
        self._on_failure = on_failure
        self._failed = False
        self._running: asyncio.Future[None] | None = None
        self._next: asyncio.Future[None] | None = None

    def wait_for(
        self, volume: int, offset: int, length: int
    ) -> asyncio.Future[None] | None:
        """Marks an extent; None if its marks are durable, or cannot be made so.

        The write itself then meets the same refusal.
        """
        try:
            self._mark(volume, offset, length)
        except OSError:
            return None
        failed, self._failed = self._failed, False
        if failed or not self._intent.unsynced(volume, offset, length):
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
        intent = self._intent
        started = intent.start_sync()
        running = self._running = loop.create_future()
        work = self._run(intent.sync)

        def done(finished: asyncio.Future[None]) -> None:
            error = None if finished.cancelled() else finished.exception()
            intent.end_sync(started, durable=error is None)
            self._failed = error is not None
            if isinstance(error, OSError):
                self._on_failure(error)
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
