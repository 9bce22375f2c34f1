"""Looking for a client's next request without going to sleep before it.

A client with one request at a time sends the next one some ten microseconds behind the
reply. To sleep meanwhile costs more than that: a virtual machine's core that halts
wakes up by an interrupt. So the loop goes on looking for a moment, as KVM does before
it halts a vCPU (`halt_poll_ns`) and NVMe drivers do with polled queues. It is done only
where it paid the last time: the request before came alone, and soon behind the reply
to another one that was alone. Where no core is free it takes what others want, and is
better left out: a request that comes late ends it, but not all of them do.
"""

from __future__ import annotations

import math
from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class BusyPoll:
    """Of one connection. All times are seconds of `time.perf_counter`."""

    def __init__(
        self,
        longest: float,
        call_soon: Callable[[Callable[[], None]], object],
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        """Does not poll yet.

        Args:
            longest: how long it looks for the next request at most; 0: never.
            call_soon: keeps the loop from sleeping, and calls back in its next turn.
            clock: what it compares with.
        """
        self._longest = longest
        self._call_soon = call_soon
        self._clock = clock
        self._alone_at = -math.inf  # when the last request that was alone was answered
        self._until = 0.0
        self._looking = False

    def answered(self, began: float, ended: float, *, alone: bool) -> None:
        """All that had come was answered in one pass.

        Args:
            began: when the pass began.
            ended: when it ended; its replies leave now.
            alone: it was one request, and nothing else has come.
        """
        soon = began - self._alone_at <= self._longest
        self._alone_at = ended if alone else -math.inf
        self._until = ended + self._longest if alone and soon else ended
        if self._until > ended and not self._looking:
            self._looking = True
            self._call_soon(self._look)

    def _look(self) -> None:
        """The loop has just looked at its sockets, and does so again behind this."""
        self._looking = self._clock() < self._until
        if self._looking:
            self._call_soon(self._look)
