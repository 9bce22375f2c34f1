"""How much may be in flight so that no checkpoint waits long for it: a controller.

A barrier is applied when all that was in flight before it is. A VM that is faster than
the secondary keeps the window full, and then every checkpoint would take as long as a
full window does. So the time from each barrier until it is applied is measured. Where
that is more than a small share of an epoch, less is let in flight until the next one;
where it is not, more again, up to the window. The secondary stays busy all the same: it
is the queue before it that is shorter.

What no queue can shorten counts for nothing: the way there and back, which is how long
the last barrier with hardly anything before it took, comes on top. Where that is not
known, what a barrier takes with the least in flight that is ever asked for stands for
it. Where checkpoints are seldom nobody waits for them, and a burst of the VM does: the
window alone is the bound.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

#: The part of an epoch that what is in flight may take to be applied.
_SHARE = 0.05
#: Of so many epochs the longest counts: a checkpoint that comes right behind another
#: says nothing of how often they come.
_EPOCHS = 4
#: Checkpoints are seldom where an epoch takes longer than so many seconds.
_SELDOM = 0.25
#: It is never less, in bytes: the largest messages still overlap.
_FLOOR = 2 << 20
#: Where no more is in flight, a barrier takes the way there and back; bytes.
_HARDLY = 256 << 10
_RAISE, _LOWER = 1.25, 0.5


class _Barrier(NamedTuple):
    """One that is not applied yet: what was in flight before it, and when it came."""

    seq: int
    at: float
    in_flight: int


class InFlightBound:
    """The bound of one stream; times are seconds on a clock that never jumps.

    Attributes:
        bytes: more than this is not to be in flight.
    """

    def __init__(self, window: int) -> None:
        """Begins with the window, in bytes, which is never exceeded."""
        self.bytes = self._window = window
        self._waits: _Barrier | None = None
        self._last: _Barrier | None = None
        self._epochs: deque[float] = deque(maxlen=_EPOCHS)
        #: The way there and back, in seconds; 0: not measured yet.
        self._way = 0.0

    def barrier(self, now: float, seq: int, in_flight: int) -> None:
        """An epoch ended; the same barrier again changes nothing.

        Args:
            now: the time.
            seq: of its barrier.
            in_flight: bytes before it that are not applied.
        """
        last = self._last
        if last is not None and seq <= last.seq:
            return
        if last is not None:
            self._epochs.append(now - last.at)
        self._last = _Barrier(seq, now, in_flight)
        if self._waits is None:
            self._waits = self._last

    def applied(self, now: float, seq: int) -> bool:
        """The secondary has applied all up to this seq; True if the bound is new."""
        last, barrier = self._last, self._waits
        if last is not None and now - last.at > _SELDOM and self.bytes < self._window:
            self.bytes = self._window  # no checkpoint came any more
            return True
        if barrier is None or seq < barrier.seq:
            return False
        self._waits = None
        taken = now - barrier.at
        if barrier.in_flight <= _HARDLY:
            self._way = taken
        if not self._epochs:
            return False
        epoch = max(self._epochs)
        wanted = self._way + _SHARE * epoch
        if epoch > _SELDOM:
            self.bytes = self._window
        elif taken <= wanted:
            self.bytes = min(self._window, int(self.bytes * _RAISE))
        elif barrier.in_flight <= _FLOOR:
            self._way = taken  # it is not the queue that takes so long
        else:
            held = min(self.bytes, barrier.in_flight)
            less = int(held * max(_LOWER, wanted / taken))
            self.bytes = max(less, min(_FLOOR, self._window))
        return True
