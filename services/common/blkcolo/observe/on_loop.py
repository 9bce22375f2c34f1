"""Asked on another thread, answered on the event loop.

What lives on the loop changes between two of its steps, never within one. So what is
put together in one step is of one moment; another thread would see half a change.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING, TypeVar

from prometheus_client.registry import Collector

from blkcolo.errors import Reason, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prometheus_client.core import Metric

T = TypeVar("T")

#: Seconds that the loop has for an answer.
_TIMEOUT = 5.0


class OnLoop:
    """The loop of a service, for threads that want to know something of it."""

    def __init__(self) -> None:
        """`start` names the loop."""
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Called on the event loop."""
        self._loop = asyncio.get_running_loop()

    def ask(self, work: Callable[[], T]) -> T:
        """What `work` returns, called on the loop in one step.

        Raises:
            Unavailable: the service is not running, or too busy to answer.
        """
        loop = self._loop
        if loop is None or loop.is_closed():
            raise Unavailable(Reason.STOPPING, "the service is not running")

        async def answered() -> T:
            return work()

        asked = asyncio.run_coroutine_threadsafe(answered(), loop)
        try:
            return asked.result(_TIMEOUT)
        except FutureTimeoutError as error:
            asked.cancel()
            raise Unavailable(
                Reason.DEADLINE, "the service is too busy to answer; ask again"
            ) from error


class CollectedOnLoop(Collector):
    """A collector of what lives on the loop."""

    def __init__(self, collector: Collector, loop: OnLoop) -> None:
        """Takes the collector, and where to ask it."""
        self._collector = collector
        self._loop = loop

    def collect(self) -> Iterable[Metric]:
        """All its families, of one moment; raises Unavailable."""
        return self._loop.ask(lambda: list(self._collector.collect()))
