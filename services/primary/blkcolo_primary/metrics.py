"""The primary's Prometheus metrics, read from the groups at each scrape."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from blkcolo_primary.forward_state import ForwardState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prometheus_client.core import Metric

    from blkcolo_primary.forwarder_core import ForwarderCore
    from blkcolo_primary.group import ForwardGroup

_PREFIX = "blkcolo_primary"

_COUNTERS = {
    "sent_bytes": ("Bytes of write data sent to the secondary.", "sent_bytes"),
    "acked_bytes": ("Bytes of write data that it has applied.", "acked_bytes"),
    "resent_bytes": ("Bytes sent again by resyncs.", "totals.resent"),
}
_GAUGES = {
    "protected": ("1 while every write is forwarded above a checkpoint.", "protected"),
    "epoch": ("The epoch that VM writes belong to.", "epoch"),
    "generation": ("The newest known generation.", "generation"),
    "in_flight_bytes": ("Bytes sent and not applied yet.", "in_flight_bytes"),
}


class ForwardCollector(Collector):
    """Turns the groups' cores into samples."""

    def __init__(self, groups: Mapping[str, ForwardGroup]) -> None:
        """Takes the groups."""
        self._groups = groups

    def collect(self) -> Iterable[Metric]:
        """Yields every family, one sample a group."""
        cores = {name: group.core for name, group in self._groups.items()}
        for name, (text, attribute) in _COUNTERS.items():
            counter = CounterMetricFamily(f"{_PREFIX}_{name}", text, labels=["group"])
            for group, core in cores.items():
                counter.add_metric([group], float(attrgetter(attribute)(core)))
            yield counter
        for name, (text, attribute) in _GAUGES.items():
            gauge = GaugeMetricFamily(f"{_PREFIX}_{name}", text, labels=["group"])
            for group, core in cores.items():
                gauge.add_metric([group], float(attrgetter(attribute)(core)))
            yield gauge
        yield from _special(cores)


def _special(cores: Mapping[str, ForwarderCore]) -> Iterable[Metric]:
    lost = CounterMetricFamily(
        f"{_PREFIX}_unreplicated_bytes",
        "Bytes that the VM wrote and no stream has brought to the secondary.",
        labels=["group"],
    )
    committed = GaugeMetricFamily(
        f"{_PREFIX}_committed_epoch",
        "The last committed checkpoint of this stream; no sample before the first.",
        labels=["group"],
    )
    state = GaugeMetricFamily(
        f"{_PREFIX}_state", "1 for the state that holds.", labels=["group", "state"]
    )
    dirty = GaugeMetricFamily(
        f"{_PREFIX}_dirty_bytes",
        "Bytes of regions written since the last commit; no sample if unknown.",
        labels=["group"],
    )
    damaged = GaugeMetricFamily(
        f"{_PREFIX}_intent_log_damaged",
        "1 where the intent log was unusable at the start: a full resync is due.",
        labels=["group"],
    )
    for group, core in cores.items():
        if core.intent.dirty_bytes is not None:
            dirty.add_metric([group], core.intent.dirty_bytes)
        damaged.add_metric([group], float(core.intent.damage is not None))
        lost.add_metric([group], core.totals.unreplicated)
        if core.committed is not None:
            committed.add_metric([group], core.committed)
        for each in ForwardState:
            state.add_metric([group, each.name.lower()], float(core.state is each))
    yield from (lost, committed, dirty, damaged, state)
