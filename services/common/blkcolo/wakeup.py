"""A wake-up call for everyone who waits for the next change."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_Found = TypeVar("_Found")


class Wakeup:
    """`fire` ends every wait that began before it; nothing is remembered.

    Check the condition, then wait, without an await between: then no change is
    missed.

    Each wait has a Future of its own, not a task or a second Future around a shared
    one: so who waits goes on in the very next turn of the loop, which on a busy one is
    what a barrier waits for.
    """

    def __init__(self) -> None:
        """No one waits yet."""
        self._waiting: dict[asyncio.Future[bool], None] = {}

    def fire(self) -> None:
        """Wakes all that wait."""
        waiting, self._waiting = self._waiting, {}
        for each in waiting:
            _end(each, fired=True)

    async def wait(self, timeout: float | None = None) -> bool:
        """Waits for the next `fire`; False when `timeout` seconds passed first."""
        loop = asyncio.get_running_loop()
        fired: asyncio.Future[bool] = loop.create_future()
        self._waiting[fired] = None
        if timeout is None:
            late = None
        else:
            late = loop.call_later(timeout, lambda: _end(fired, fired=False))
        try:
            return await fired
        finally:
            self._waiting.pop(fired, None)
            if late is not None:
                late.cancel()

    async def until(self, check: Callable[[], _Found], timeout: float) -> _Found:
        """Waits until `check` says something true; returns what it said last.

        Args:
            check: asked at once, and after each `fire`; what it raises ends the wait.
            timeout: seconds; then it returns what is not true.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while not (found := check()):
            if not await self.wait(max(0.0, deadline - loop.time())):
                break
        return found


def _end(wait: asyncio.Future[bool], *, fired: bool) -> None:
    if not wait.done():  # whoever waited may be gone
        wait.set_result(fired)
