"""How long nothing was completed: pure arithmetic on moments."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def longest_gap(completions: Sequence[int], start: int, end: int) -> int:
    """The longest time between two completions that follow each other, around a window.

    A gap counts at its full length where any part of it lies in [start, end], though
    it began before or ended after.

    Args:
        completions: when each request was completed, in ascending order.
        start: where the window starts, in the same unit.
        end: where it ends.

    Returns:
        That time in the same unit.

    Raises:
        ValueError: the completions do not reach around the window, or are in no order:
            nobody knows what was before the first one or behind the last.
    """
    if not covers(completions, start, end):
        raise ValueError((start, end))
    first = max(bisect_left(completions, start) - 1, 0)
    last = min(bisect_right(completions, end), len(completions) - 1)
    gaps = [completions[at + 1] - completions[at] for at in range(first, last)]
    if gaps and min(gaps) < 0:
        raise ValueError((start, end))
    return max(gaps, default=0)


def covers(completions: Sequence[int], start: int, end: int) -> bool:
    """True if something was completed before the window and behind it."""
    return bool(completions) and completions[0] <= start <= end <= completions[-1]


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that so many percent of them are not above."""
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]
