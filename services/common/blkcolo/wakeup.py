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
    """

    def __init__(self) -> None:
        """No one waits yet."""
        self._next: asyncio.Future[None] | None = None

    def fire(self) -> None:
        """Wakes all that wait."""
        if self._next is not None and not self._next.done():
            self._next.set_result(None)
        self._next = None

    async def wait(self, timeout: float | None = None) -> bool:
        """Waits for the next `fire`; False when `timeout` seconds passed first."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        done, _ = await asyncio.wait([self._next], timeout=timeout)
        return bool(done)

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
