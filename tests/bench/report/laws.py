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
#: nor is what a line of so many points seems to explain by chance, once in twenty
#: times: the critical values of the correlation (Fisher and Yates, table VII).
_BY_CHANCE = {
    3: 0.997,
    4: 0.950,
    5: 0.878,
    6: 0.811,
    7: 0.754,
    8: 0.707,
    9: 0.666,
    10: 0.632,
}
#: A line that explains as much needs no knee.
_STRAIGHT = 0.98
#: A knee takes two numbers more, so there must be many points,
_FOR_A_KNEE = 7
#: and it must leave less unexplained than this part of what the line leaves. Of eight
#: points of noise one set in twenty does.
_LEFT_BY_A_KNEE = 0.1


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
        points: at least three, each of another x.
    """
    x, y = zip(*sorted(points), strict=True)
    line = _line(x, y)
    if max(y) - min(y) < _FLAT * mean(y):
        return Law(mean(y), 0, None, 0, 0, min(y), max(y))
    if line.explained < _STRAIGHT and len(points) >= _FOR_A_KNEE:
        knees = (_with_knee(x, y, at) for at in x[1:-1])
        best = max(knees, key=lambda each: each.explained)
        if 1 - best.explained < _LEFT_BY_A_KNEE * (1 - line.explained):
            return best
    if line.explained < _BY_CHANCE.get(len(points), _BY_CHANCE[10]) ** 2:
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
