"""When writes are due: a schedule that nothing delays."""

from __future__ import annotations

import sys
from typing import NamedTuple

_NS = 1_000_000_000


class Pace(NamedTuple):
    """The n-th write, from 0 on, is due n / rate seconds behind the start.

    A late reply moves no later write: what could not be sent when it was due is sent as
    soon as there is a slot for it, so a stall is made up for, not left out.

    Attributes:
        began: the start, in ns.
        rate: writes a second; None where each is due at once, as many as there are
            slots for.
    """

    began: int
    rate: float | None = None

    def due(self, now: int) -> int:
        """How many writes are due until now, since the start."""
        if self.rate is None:
            return sys.maxsize
        return int((now - self.began) * self.rate / _NS) + 1

    def at(self, number: int) -> int:
        """When that write is due, in ns."""
        return self.began + (0 if self.rate is None else int(number * _NS / self.rate))
