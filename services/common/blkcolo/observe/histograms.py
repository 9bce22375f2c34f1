"""Latency histograms for hot paths: a bisection and two additions an observation.

prometheus_client's own Histogram takes a lock and walks its buckets at each
observation, which a 4 KiB write would feel. These are written by one thread, and read
at a scrape by another: a scrape may see a sum that is one observation ahead.
"""

from __future__ import annotations

from bisect import bisect_left
from operator import add
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from prometheus_client.core import HistogramMetricFamily

#: Upper bounds in seconds: from a page-cache write to a stalled link.
WRITE_BUCKETS = (
    *(0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005),
    *(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0),
)


class LatencyHistogram:
    """Counts of observations by bucket, and their sum in seconds."""

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float] = WRITE_BUCKETS) -> None:
        """Takes the buckets' upper bounds in seconds, ascending."""
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, seconds: float, count: int = 1) -> None:
        """Adds one observation, or several that are equal."""
        self.counts[bisect_left(self._bounds, seconds)] += count
        self.sum += seconds * count

    @property
    def count(self) -> int:
        """All observations."""
        return sum(self.counts)

    @staticmethod
    def summed(histograms: Iterable[LatencyHistogram]) -> LatencyHistogram:
        """All observations of histograms with the default bounds."""
        total = LatencyHistogram()
        for each in histograms:
            total.sum += each.sum
            total.counts = list(map(add, total.counts, each.counts))
        return total

    def add_to(self, family: HistogramMetricFamily, labels: Sequence[str]) -> None:
        """Adds this histogram to a family that is being collected."""
        total, buckets = 0, []
        bounds = [*map(repr, map(float, self._bounds)), "+Inf"]
        for bound, count in zip(bounds, self.counts, strict=True):
            total += count
            buckets.append((bound, total))
        family.add_metric(labels, buckets, self.sum)
