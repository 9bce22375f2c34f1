"""A look at a group that is answered when there is something to do."""

from __future__ import annotations

import asyncio
from math import ceil, floor
from typing import TYPE_CHECKING, NamedTuple

from blkcolo.wakeup import Wakeup

if TYPE_CHECKING:
    from collections.abc import Callable

#: No beat is shorter, nor longer, in seconds; whatever a caller asks for.
_SHORTEST_BEAT = 0.001
_LONGEST_BEAT = 1.0
#: So many moments a beat at which the time of a look can be over: those that began
#: together end together.
_TICKS = 4


class Terms(NamedTuple):
    """How long a look is held, in seconds.

    Attributes:
        seconds: it is answered then in any case, a quarter of a beat later at most.
        left: its caller waits no longer.
        beat: it may be answered so late; what is no number is the shortest.
    """

    seconds: float
    left: float
    beat: float

    @property
    def beat_held(self) -> float:
        """The beat that is held."""
        return min(max(_SHORTEST_BEAT, self.beat), _LONGEST_BEAT)

    def over_at(self, now: float) -> float:
        """When the time is over of a look that begins now."""
        tick = self.beat_held / _TICKS
        seconds = min(max(0.0, self.seconds), self.left)
        return min(ceil((now + seconds) / tick) * tick, now + self.left)


class Watch:
    """The look that waits at one group; there is one at most.

    A newer look ends it at once: whoever had asked before is gone, or looks again.

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
        self._newest: Wakeup | None = None

    async def wait(
        self,
        due: Callable[[], bool],
        only_told: Callable[[], bool],
        terms: Terms,
    ) -> bool:
        """Waits until there is something to do; False if the time was over before.

        Args:
            due: True if there is.
            only_told: True while nothing can come that `changed` does not tell.
            terms: how long. True as well if the look was ended before: this group is
                to be looked at again.
        """
        clock = asyncio.get_running_loop().time
        beat, over_at = terms.beat_held, terms.over_at(clock())
        mine = Wakeup()
        self._end_for(mine)
        try:
            while not due() and self._newest is mine:
                left = over_at - clock()
                if left <= 0:
                    return False
                if only_told():
                    await self._changed.wait(left)
                if self._newest is mine:
                    now = clock()
                    at = min(over_at, (floor(now / beat) + 1) * beat)
                    await mine.wait(at - now)
            return True
        finally:
            if self._newest is mine:
                self._newest = None

    def end(self) -> None:
        """Ends the look that waits, if one does."""
        self._end_for(None)

    def _end_for(self, newer: Wakeup | None) -> None:
        before, self._newest = self._newest, newer
        if before is not None:  # it waits for either
            before.fire()
            self._changed.fire()
