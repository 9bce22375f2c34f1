"""How fast a comparison may go, so that the VM keeps its speed: a controller.

While the VM is busy, time is cut into windows. In a short one the comparison rests,
and the VM's speed is measured; in a longer one it runs at a rate, and the VM's speed
is measured again. Where the VM keeps less than it should the rate falls in
proportion; where it keeps enough the rate rises. An idle VM is not spared.

    RESTING --measured alone--> RUNNING --measured together--> RESTING ...
                                   ^  |
                                   +--+  while the VM is idle
"""

from __future__ import annotations

#: The part of its speed that a VM is to keep; above the half that is promised.
KEPT = 0.65
_REST_SECONDS = 0.1
_RUN_SECONDS = 0.5
#: A comparison never goes slower, so that it ends; bytes a second.
_FLOOR = 1 << 20
_FIRST = 32 << 20
_CEILING = 1 << 34
_RAISE, _LOWER = 1.25, 0.5


class Pacer:
    """The pace of one comparison; times are seconds on a clock that never jumps."""

    def __init__(self, now: float, served: int, limit: int = 0) -> None:
        """Begins with a rest.

        Args:
            now: the time.
            served: what the VM was given up to now, in bytes.
            limit: bytes a second that are never exceeded; 0: none.
        """
        self._limit = limit or _CEILING
        self.rate = float(min(_FIRST, self._limit))
        #: True while the comparison rests and the VM is measured alone.
        self.resting = True
        self._began, self._served = now, served
        self._alone: float | None = None
        self._ready_at = now

    def delay(self, now: float, served: int) -> float:
        """Seconds until the next step may be done; 0: now."""
        elapsed = now - self._began
        if elapsed >= (_REST_SECONDS if self.resting else _RUN_SECONDS):
            self._turn((served - self._served) / elapsed)
            self._began, self._served = now, served
        if self.resting:
            return max(self._began + _REST_SECONDS - now, 0.001)
        return max(self._ready_at - now, 0.0)

    def _turn(self, speed: float) -> None:
        """A window is over; the VM had this speed in it, in bytes a second."""
        if self.resting:
            self._alone, self.resting = speed, False
            return
        if self._alone:
            kept = speed / self._alone
            if kept < KEPT:
                self.rate *= max(kept / KEPT, _LOWER)
            else:
                self.rate *= _RAISE
        elif not speed:
            self.rate = self._limit
        self.rate = min(max(self.rate, _FLOOR), self._limit)
        self.resting = speed > 0

    def spent(self, now: float, length: int) -> None:
        """A step of so many bytes was done."""
        self._ready_at = max(self._ready_at, now) + length / self.rate
