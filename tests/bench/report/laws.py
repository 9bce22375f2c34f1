"""What measured points say of a cost: that it is flat, a line, or a line with a knee.

The law is fitted to the points each time that it is shown, so no sentence can say what
was not measured.
"""

from __future__ import annotations

from statistics import correlation, covariance, linear_regression, mean, variance
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Less than this part of the mean over all points is no growth,
_FLAT = 0.1
#: nor is what the line explains less of the differences than this part.
_EXPLAINED = 0.5
#: A line that explains as much needs no knee.
_STRAIGHT = 0.98
#: A knee takes two numbers more, so there must be many points.
_FOR_A_KNEE = 7


class Law(NamedTuple):
    """`start + slope * x`; behind a knee, if there is one, `beyond` is the slope.

    Attributes:
        start: at 0.
        slope: 0 where the cost is flat, and `start` the mean.
        knee: where the slope changes; None where it does not.
        beyond: the slope from there on.
        explained: R2, the part of the differences that the law explains.
        low: the lowest point.
        high: the highest.
    """

    start: float
    slope: float
    knee: float | None
    beyond: float
    explained: float
    low: float
    high: float

    @property
    def flat(self) -> bool:
        """True where no growth was seen."""
        return self.slope == 0 and self.knee is None

    @property
    def steady(self) -> bool:
        """True where all points are as good as one."""
        return self.high - self.low < _FLAT * self.start

    def at(self, x: float) -> float:
        """What it says of an x."""
        if self.knee is None:
            return self.start + self.slope * x
        behind = self.beyond * max(0, x - self.knee)
        return self.start + self.slope * min(x, self.knee) + behind


def law(points: Sequence[tuple[float, float]]) -> Law:
    """The simplest of the three that the points bear.

    Args:
        points: at least two, of different x.
    """
    x, y = zip(*sorted(points), strict=True)
    line = _line(x, y)
    if line.explained < _STRAIGHT and len(points) >= _FOR_A_KNEE:
        line = max(
            (_with_knee(x, y, at) for at in x[1:-1]), key=lambda each: each.explained
        )
    if line.explained < _EXPLAINED or line.high - line.low < _FLAT * mean(y):
        return Law(mean(y), 0, None, 0, 0, min(y), max(y))
    return line


def _line(x: Sequence[float], y: Sequence[float]) -> Law:
    slope, start = linear_regression(x, y)
    explained = correlation(x, y) ** 2 if min(y) < max(y) else 0
    return Law(start, slope, None, slope, explained, min(y), max(y))


def _with_knee(x: Sequence[float], y: Sequence[float], knee: float) -> Law:
    """Least squares of two slopes that meet at the knee."""
    before = [min(each, knee) for each in x]
    behind = [max(each - knee, 0) for each in x]
    both = covariance(before, behind)
    of_before, of_behind = covariance(before, y), covariance(behind, y)
    least = variance(before) * variance(behind) - both**2
    slope = (of_before * variance(behind) - of_behind * both) / least
    beyond = (of_behind * variance(before) - of_before * both) / least
    start = mean(y) - slope * mean(before) - beyond * mean(behind)
    explained = (slope * of_before + beyond * of_behind) / variance(y)
    return Law(start, slope, knee, beyond, explained, min(y), max(y))
