"""How soon a group is looked at again: seldom where nothing happens.

Looking costs both sides and the coordinator CPU, times the number of groups. A group
whose VM writes is looked at in every interval, so that its triggers are seen in time;
one that stays as it was, less and less often.
"""

from __future__ import annotations

#: A group that stays as it was is looked at after this many intervals at the latest.
_LONGEST = 16


class PollPace:
    """The pace of one group."""

    def __init__(self) -> None:
        """Nothing was seen yet."""
        self._seen: object = None
        self._intervals = 1

    @property
    def slowest(self) -> bool:
        """True if it was the same for so long that nothing is expected."""
        return self._intervals == _LONGEST

    def next(self, interval: float, seen: object, due_in: float | None) -> float:
        """Seconds until the next look.

        Args:
            interval: the shortest.
            seen: what this look found; equal to the last: nothing happened.
            due_in: seconds until the next checkpoint is due, if one is.
        """
        quiet = seen == self._seen
        self._intervals = min(self._intervals * 2, _LONGEST) if quiet else 1
        self._seen = seen
        pace = interval * self._intervals
        return pace if due_in is None else max(interval, min(pace, due_in))
