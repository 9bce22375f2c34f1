"""A look at a group that is answered when there is something to do."""

from __future__ import annotations

import asyncio
from math import ceil, floor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from blkcolo.wakeup import Wakeup

#: No beat is shorter, in seconds.
_SHORTEST_BEAT = 0.001
#: So many moments a beat at which the time of a look can be over: those that began
#: together end together.
_TICKS = 4


class Watch:
    """The look that waits at one group; there is one at most.

    A newer look ends it: whoever had asked before is gone, or asks again.

    Nobody is woken by each write. While only `changed` can tell that something came,
    that is waited for; otherwise the group is looked at on every beat. All groups of a
    process have the same beats, so that answers which are due together share messages.
    """

    def __init__(self, changed: Wakeup) -> None:
        """No look waits.

        Args:
            changed: fires when anything has changed.
        """
        self._changed = changed
        self._newest: object | None = None

    async def wait(
        self,
        due: Callable[[], bool],
        only_told: Callable[[], bool],
        seconds: float,
        beat: float,
    ) -> bool:
        """Waits until there is something to do; False if the time was over before.

        Args:
            due: True if there is.
            only_told: True while nothing can come that `changed` does not tell.
            seconds: the time, by a quarter of a beat longer at most; it is over as
                well when a newer look comes.
            beat: the length of a beat in seconds: so late it may be at most.
        """
        loop = asyncio.get_running_loop()
        # What is no number is the shortest: a caller may ask for anything.
        beat = max(_SHORTEST_BEAT, beat)
        tick = beat / _TICKS
        deadline = ceil((loop.time() + max(0.0, seconds)) / tick) * tick
        mine = self._begin()
        try:
            while not due():
                left = deadline - loop.time()
                if left <= 0 or self._newest is not mine:
                    return False
                if only_told():
                    await self._changed.wait(left)
                now = loop.time()
                at = min(deadline, (floor(now / beat) + 1) * beat)
                await asyncio.sleep(at - now)
            return True
        finally:
            if self._newest is mine:
                self._newest = None

    def _begin(self) -> object:
        """Takes the place of the one that waits."""
        before, self._newest = self._newest, object()
        if before is not None:
            self._changed.fire()
        return self._newest
