"""How many NBD requests there are, and how long they take.

Counts are by volume, which costs nothing more: each connection has one volume. The
buckets of the latencies are summed over the volumes at a scrape, whose size would else
grow by a hundred samples a volume.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from blkcolo.nbd.constants import Command, NbdError
from blkcolo.observe.histograms import LatencyHistogram

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prometheus_client.core import Metric

_NAMES = {int(command): command.name.lower() for command in Command}
_ERRORS = {int(error): error.name for error in NbdError}
_TIMED = [int(command) for command in Command if command is not Command.DISC]
#: These have samples from the start, the rest from the first request on.
_USUAL = (Command.READ, Command.WRITE, Command.FLUSH)


class Place(NamedTuple):
    """What an export belongs to: the labels of its samples."""

    group: str
    volume: str


class VolumeRequests:
    """The requests of all connections to one volume."""

    def __init__(self) -> None:
        """Nothing was asked yet."""
        #: By command number.
        self.seconds = {command: LatencyHistogram() for command in _TIMED}
        self.errors: Counter[tuple[int, int]] = Counter()

    def refused(self, kind: int, error: int) -> None:
        """A request was answered with an error."""
        self.errors[kind, error] += 1


class RequestMetrics(Collector):
    """The requests of all connections of a server."""

    def __init__(self, place_of: Callable[[str], Place] | None = None) -> None:
        """Takes what an export's name stands for; by default, its own volume."""
        self._place_of = place_of or (lambda name: Place("", name))
        self._volumes: dict[Place, VolumeRequests] = {}

    def of(self, export: str) -> VolumeRequests:
        """Where the requests to an export are counted."""
        return self._volumes.setdefault(self._place_of(export), VolumeRequests())

    def collect(self) -> Iterable[Metric]:
        """Yields every family."""
        seconds = HistogramMetricFamily(
            "blkcolo_nbd_request_seconds",
            "How long NBD requests took, what they waited for included.",
            labels=["command"],
        )
        for command in _TIMED:
            each = [volume.seconds[command] for volume in self._volumes.values()]
            LatencyHistogram.summed(each).add_to(seconds, [_NAMES[command]])
        yield seconds
        yield from self._by_volume()

    def _by_volume(self) -> Iterable[Metric]:
        labels = ["group", "volume", "command"]
        requests = CounterMetricFamily(
            "blkcolo_nbd_requests", "NBD requests that were answered.", labels=labels
        )
        busy = CounterMetricFamily(
            "blkcolo_nbd_busy_seconds",
            "Time that they took: by nbd_requests_total, the mean latency.",
            labels=labels,
        )
        refused = CounterMetricFamily(
            "blkcolo_nbd_errors",
            "NBD requests answered with an error, by its name.",
            labels=[*labels, "error"],
        )
        for place, volume in self._volumes.items():
            for command, times in volume.seconds.items():
                if times.count or command in _USUAL:
                    requests.add_metric([*place, _NAMES[command]], times.count)
                    busy.add_metric([*place, _NAMES[command]], times.sum)
            for (command, error), count in volume.errors.items():
                names = _NAMES.get(command, "unknown"), _ERRORS.get(error, "unknown")
                refused.add_metric([*place, *names], count)
        yield from (requests, busy, refused)
