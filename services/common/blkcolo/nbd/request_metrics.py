"""How long NBD requests take, from the pass that read them to their reply.

By command, and not by volume: the cost of a scrape does not grow with the volumes.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from blkcolo.histograms import LatencyHistogram
from blkcolo.nbd.constants import Command, NbdError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.core import Metric

_TIMED = [command for command in Command if command is not Command.DISC]


class RequestMetrics(Collector):
    """The requests of all connections of a server."""

    def __init__(self) -> None:
        """Nothing was asked yet."""
        #: By command number.
        self.seconds = {int(command): LatencyHistogram() for command in _TIMED}
        self._refused: Counter[tuple[int, int]] = Counter()

    def refused(self, kind: int, error: int) -> None:
        """A request was answered with an error."""
        self._refused[kind, error] += 1

    def collect(self) -> Iterable[Metric]:
        """Yields both families."""
        seconds = HistogramMetricFamily(
            "blkcolo_nbd_request_seconds",
            "How long NBD requests took, what they waited for included.",
            labels=["command"],
        )
        for command in _TIMED:
            self.seconds[command].add_to(seconds, [command.name.lower()])
        yield seconds
        refused = CounterMetricFamily(
            "blkcolo_nbd_errors",
            "NBD requests answered with an error, by its name.",
            labels=["command", "error"],
        )
        names = {int(command): command.name.lower() for command in Command}
        errors = {int(error): error.name for error in NbdError}
        for (kind, error), count in self._refused.items():
            labels = [names.get(kind, "unknown"), errors.get(error, "unknown")]
            refused.add_metric(labels, count)
        yield refused
