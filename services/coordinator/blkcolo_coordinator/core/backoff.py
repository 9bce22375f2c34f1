"""How long to wait before a start is tried again, and when not to."""

from __future__ import annotations

from dataclasses import dataclass

from blkcolo.errors import BlkcoloError, Reason

_FIRST = 0.2
_LONGEST = 10.0

#: Trying again cannot mend these: an operator must change something first.
NEEDS_OPERATOR = frozenset(
    {
        Reason.CONTENTS_DIFFER,
        Reason.VOLUME_MISMATCH,
        Reason.FAILED_OVER,
        Reason.STALE_GENERATION,
        Reason.WRONG_GROUP,
    }
)


@dataclass
class Backoff:
    """The next attempt; times are seconds on a clock that never jumps."""

    not_before: float = 0.0
    blocked: bool = False
    _delay: float = _FIRST

    def may_try(self, now: float) -> bool:
        """True if an attempt is due."""
        return not self.blocked and now >= self.not_before

    def failed(self, now: float, error: BlkcoloError) -> None:
        """Doubles the wait, or waits for `reset`."""
        self.blocked = error.reason in NEEDS_OPERATOR
        self.not_before = now + self._delay
        self._delay = min(self._delay * 2, _LONGEST)

    def reset(self) -> None:
        """An attempt succeeded, or an operator asks for one."""
        self.not_before, self.blocked, self._delay = 0.0, False, _FIRST
