"""Virtual time, and a network that delays, drops and cuts.

Messages of a stream come in order or not at all, as with TCP; a call's request or its
answer may be lost, and then its caller waits for its deadline.
"""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING, Any

from blkcolo.errors import BlkcoloError, DeadlineMissed, Reason, Unavailable

if TYPE_CHECKING:
    import random
    from collections.abc import Callable


class Clock:
    """Virtual time, and what is due when."""

    def __init__(self) -> None:
        self.now = 0.0
        self._numbers = itertools.count()
        self._due: list[tuple[float, int, Callable[[], None]]] = []

    def after(self, delay: float, work: Callable[[], None]) -> None:
        """Does the work so many seconds from now."""
        entry = (self.now + delay, next(self._numbers), work)
        heapq.heappush(self._due, entry)

    def step(self, until: float) -> bool:
        """Does what is due next; False if nothing is due before `until`."""
        if not self._due or self._due[0][0] > until:
            return False
        self.now, _, work = heapq.heappop(self._due)
        work()
        return True


class Network:
    """Carries messages between processes.

    Attributes:
        faulty: messages may be lost, and streams cut.
    """

    def __init__(self, clock: Clock, rng: random.Random) -> None:
        self.faulty = True
        self._clock = clock
        self._rng = rng

    def delay(self) -> float:
        """How long a message takes, in seconds."""
        slow = self.faulty and self._rng.random() < 0.02
        return self._rng.uniform(0.5, 3.0) if slow else self._rng.uniform(0.0002, 0.01)

    def lost(self, chance: float) -> bool:
        """True if a message does not arrive."""
        return self.faulty and self._rng.random() < chance

    def call(
        self,
        serve: Callable[[Callable[[Any], None]], None],
        done: Callable[[Any], None],
        timeout: float,
    ) -> None:
        """A unary call.

        Args:
            serve: runs at the callee, which answers through its argument, once.
            done: runs at the caller with the answer or a BlkcoloError, once.
            timeout: seconds.
        """
        over = False

        def finish(answer: object) -> None:
            nonlocal over
            if not over:
                over = True
                done(answer)

        def answer(value: object) -> None:
            if not self.lost(0.01):
                self._clock.after(self.delay(), lambda: finish(value))

        late = DeadlineMissed(Reason.DEADLINE, "no answer")
        self._clock.after(timeout, lambda: finish(late))
        if not self.lost(0.01):
            self._clock.after(self.delay(), lambda: serve(answer))


class Stream:
    """One connection between the primary and the secondary.

    Each end sets its `on_...` callbacks; after `cut` nothing arrives any more, and
    each end learns of it some time later.
    """

    def __init__(self, network: Network, clock: Clock) -> None:
        self.on_request: Callable[[int, Any], None] = lambda _seq, _message: None
        self.on_response: Callable[[Any], None] = lambda _message: None
        self.on_primary_end: Callable[[BlkcoloError], None] = lambda _error: None
        self.on_secondary_end: Callable[[], None] = lambda: None
        self.open = True
        self._network = network
        self._clock = clock
        self._arrival = [0.0, 0.0]

    def _deliver(self, way: int, work: Callable[[], None]) -> None:
        """In order: a message never overtakes an earlier one."""
        at = max(self._clock.now + self._network.delay(), self._arrival[way])
        self._arrival[way] = at
        self._clock.after(at - self._clock.now, lambda: work() if self.open else None)

    def request(self, seq: int, message: object) -> None:
        """From the primary."""
        if self._network.lost(0.0005):
            return  # a program error on the way: the gap must be noticed
        self._deliver(0, lambda: self.on_request(seq, message))

    def response(self, message: object) -> None:
        """From the secondary."""
        self._deliver(1, lambda: self.on_response(message))

    def cut(self, error: BlkcoloError | None = None) -> None:
        """Breaks it."""
        if not self.open:
            return
        self.open = False
        reason = error or Unavailable(Reason.LINK_LOST, "cut")
        self._clock.after(self._network.delay(), lambda: self.on_primary_end(reason))
        self._clock.after(self._network.delay(), self._secondary_ends)

    def _secondary_ends(self) -> None:
        self.on_secondary_end()
