"""A wake-up call for everyone who waits for the next change."""

from __future__ import annotations

import asyncio


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
