"""Virtual time, and a network that delays, drops, repeats, damages and cuts.

Messages of a stream come in order or not at all, as with TCP; now and then one is
lost or changed by "a program error on the way", which order, checksums and digest are
to notice. A call's request or its answer may be lost, and then its caller waits for
its deadline; a call may come a second time much later, as from a coordinator that is
not in charge any more.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from blkcolo.errors import BlkcoloError, DeadlineMissed, Reason, Unavailable
from blkcolo.stream import Barrier, Batch, RecordKind, Verify

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
        faulty: messages may be lost, late, repeated or damaged.
    """

    def __init__(self, clock: Clock, rng: random.Random) -> None:
        self.faulty = True
        self.rng = rng
        self._clock = clock
        self._cut_until: dict[frozenset[str], float] = {}

    def sever(self, one: str, other: str, seconds: float) -> None:
        """Nothing goes between the two for a while."""
        self._cut_until[frozenset((one, other))] = self._clock.now + seconds

    def reaches(self, one: str, other: str) -> bool:
        """True if something goes between the two now."""
        if not self.faulty:
            return True
        return self._clock.now >= self._cut_until.get(frozenset((one, other)), 0.0)

    def delay(self) -> float:
        """How long a message takes, in seconds."""
        slow = self.happens(0.003)
        return self.rng.uniform(0.5, 3.0) if slow else self.rng.uniform(0.0002, 0.01)

    def happens(self, chance: float) -> bool:
        """True if a fault of this chance happens now."""
        return self.faulty and self.rng.random() < chance

    def call(
        self,
        serve: Callable[[Callable[[Any], None]], None],
        done: Callable[[Any], None],
        timeout: float,
        ends: tuple[str, str],
    ) -> None:
        """A unary call.

        Args:
            serve: runs at the callee, which answers through its argument, once.
            done: runs at the caller with the answer or a BlkcoloError, once.
            timeout: seconds.
            ends: caller and callee.
        """
        over = False

        def finish(answer: object) -> None:
            nonlocal over
            if not over:
                over = True
                done(answer)

        def answer(value: object) -> None:
            if not self.happens(0.01) and self.reaches(*ends):
                self._clock.after(self.delay(), lambda: finish(value))

        late = DeadlineMissed(Reason.DEADLINE, "no answer")
        self._clock.after(timeout, lambda: finish(late))
        if not self.happens(0.01) and self.reaches(*ends):
            self._clock.after(self.delay(), lambda: serve(answer))
        if self.happens(0.02):
            self._clock.after(self.rng.uniform(0.0, 4.0), lambda: serve(ignore))


def ignore(answer: object) -> None:
    """Nobody waits for the answer."""


class Stream:
    """One connection between the primary and the secondary.

    Each end sets its `on_...` callbacks; after `cut` nothing arrives any more, and
    each end learns of it some time later.

    Attributes:
        spoiled_in: the epoch in which the first write was lost or changed.
    """

    def __init__(self, network: Network, clock: Clock) -> None:
        self.on_request: Callable[[int, Any], None] = lambda _seq, _message: None
        self.on_response: Callable[[Any], None] = lambda _message: None
        self.on_primary_end: Callable[[BlkcoloError], None] = lambda _error: None
        self.on_secondary_end: Callable[[], None] = lambda: None
        self.open = True
        self.spoiled_in: int | None = None
        self._network = network
        self._clock = clock
        self._arrival = [0.0, 0.0]
        self._swallowed = 0
        self._last_batch: list[bool] = [False]

    def _deliver(self, way: int, work: Callable[[], None]) -> None:
        """In order: a message never overtakes an earlier one."""
        at = max(self._clock.now + self._network.delay(), self._arrival[way])
        self._arrival[way] = at
        self._clock.after(at - self._clock.now, lambda: work() if self.open else None)

    def request(self, seq: int, message: object) -> None:
        """From the primary."""
        chance = self._network.happens
        if isinstance(message, Barrier) and chance(0.03) and self._last_batch[0]:
            self._last_batch[0] = False  # never sent: only the barrier can tell
            self._spoil(message.epoch)
            self._swallowed += 1
        elif isinstance(message, Batch) and chance(0.004):
            self._spoil(message.epoch)
            if chance(0.5):
                return
            message = _changed(message, self._network.rng)
        elif isinstance(message, Verify) and chance(0.01):
            return
        wanted = [True]
        if isinstance(message, Batch):
            self._last_batch = wanted
        number = seq - self._swallowed
        self._deliver(
            0, lambda: self.on_request(number, message) if wanted[0] else None
        )

    def _spoil(self, epoch: int) -> None:
        if self.spoiled_in is None:
            self.spoiled_in = epoch

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


def _changed(batch: Batch, rng: random.Random) -> Batch:
    """The batch without its last record, or with one wrong byte in its data."""
    if batch.payload and rng.random() < 0.5:
        payload = bytearray(batch.payload)
        payload[rng.randrange(len(payload))] ^= 1 << rng.randrange(8)
        return replace(batch, payload=bytes(payload))
    is_data = batch.kinds[-1] == RecordKind.DATA
    lost = batch.lengths[-1] if is_data else 0
    return replace(
        batch,
        kinds=batch.kinds[:-1],
        volumes=batch.volumes[:-1],
        offsets=batch.offsets[:-1],
        lengths=batch.lengths[:-1],
        checksums=batch.checksums[:-1],
        payload=batch.payload[: len(batch.payload) - lost],
    )
