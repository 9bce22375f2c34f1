"""How soon a group is looked at again: seldom where nothing happens.

Looking costs both sides and the coordinator CPU, times the number of groups. A group
whose VM writes is looked at in every interval, so that its triggers are seen in time;
one that stays as it was, less and less often.

All groups are looked at on the same beats, two an interval: so the calls of those that
are due at about the same time begin together, and share what a call costs. Nothing is
due later for it than by half an interval.
"""

from __future__ import annotations

from math import ceil, floor

#: A group that stays as it was is looked at after this many intervals at the latest.
_LONGEST = 16
#: So many beats an interval.
_BEATS = 2


class PollPace:
    """The pace of one group."""

    def __init__(self) -> None:
        """Nothing was seen yet."""
        self._seen: object = None
        self._intervals = 1

    def next(
        self, now: float, interval: float, seen: object, due_in: float | None
    ) -> float:
        """Seconds until the next look.

        Args:
            now: seconds on a clock that all groups share.
            interval: the shortest.
            seen: what this look found; equal to the last: nothing happened.
            due_in: seconds until the next checkpoint is due, if one is.
        """
        quiet = seen == self._seen
        self._intervals = min(self._intervals * 2, _LONGEST) if quiet else 1
        self._seen = seen
        beat = interval / _BEATS
        # A look takes a while: its pace ends a little behind the beat that it is for.
        at = floor((now + interval * self._intervals) / beat)
        if due_in is not None:
            soonest = floor((now + interval) / beat)
            at = max(soonest, min(at, ceil((now + due_in) / beat)))
        return at * beat - now
