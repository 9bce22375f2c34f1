"""The primary's Prometheus metrics, read from the groups at each scrape."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector

from blkcolo_primary.forward_state import ForwardState
from blkcolo_primary.resync_plan import ResyncPlan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from prometheus_client.core import Metric

    from blkcolo_primary.forwarder_core import ForwarderCore
    from blkcolo_primary.group import ForwardGroup

_PREFIX = "blkcolo_primary"

_COUNTERS = {
    "sent_bytes": ("Bytes of write data sent to the secondary.", "traffic.sent_bytes"),
    "acked_bytes": ("Bytes of write data that it has applied.", "traffic.acked_bytes"),
    "resent_bytes": ("Bytes sent again by resyncs.", "traffic.resent_bytes"),
    "verify_mismatching_blocks": (
        "Blocks of 4 KiB in the extents that verifies found to differ.",
        "verification.differing_blocks",
    ),
}
_GAUGES = {
    "protected": ("1 while every write is forwarded above a checkpoint.", "protected"),
    "epoch": ("The epoch that VM writes belong to.", "epoch"),
    "generation": ("The newest known generation.", "generation"),
    "in_flight_bytes": ("Bytes sent and not applied yet.", "in_flight_bytes"),
}


_OF_GROUP: dict[str, tuple[str, Callable[[ForwardGroup], float | None]]] = {
    "accepts_writes": (
        "1 while VM writes are accepted: 0 once it is fenced.",
        lambda group: float(group.core.state is not ForwardState.FENCED),
    ),
    "throttled": (
        "1 while VM writes wait for the secondary.",
        lambda group: float(group.vm_writes.throttled),
    ),
    "window_bytes": (
        "Bytes in flight at which VM writes are held up.",
        lambda group: group.core.window_bytes,
    ),
    "no_progress_seconds": (
        "For how long the secondary applied nothing of what is under way.",
        lambda group: group.no_progress_seconds,
    ),
    "resync_total_bytes": (
        "Bytes that this stream's resync compares in all; no sample without one.",
        lambda group: group.core.resync.total_bytes if group.core.resync else None,
    ),
    "resync_done_bytes": (
        "Bytes of it that are compared.",
        lambda group: group.core.resync.done_bytes if group.core.resync else None,
    ),
    "resync_rate_bytes_per_second": (
        "Its speed; no sample when none runs.",
        lambda group: group.resync_run.rate if group.resync_run else None,
    ),
    "resync_eta_seconds": (
        "Seconds until it is complete at this speed; no sample if unknown.",
        lambda group: group.resync_run.eta_seconds if group.resync_run else None,
    ),
    "last_verified_checkpoint": (
        "The newest checkpoint behind a complete verify; no sample before one.",
        lambda group: group.core.verification.checkpoint,
    ),
    "last_verified_timestamp_seconds": (
        "When the last verify was complete; no sample before one.",
        lambda group: group.verify.completed_at or None,
    ),
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
        yield from _resyncs(cores)
        yield from self._of_groups()
        yield from self._latencies()

    def _of_groups(self) -> Iterable[Metric]:
        """Samples that are there only where there is something to say."""
        for name, (text, read) in _OF_GROUP.items():
            gauge = GaugeMetricFamily(f"{_PREFIX}_{name}", text, labels=["group"])
            for label, group in self._groups.items():
                value = read(group)
                if value is not None:
                    gauge.add_metric([label], float(value))
            yield gauge

    def _latencies(self) -> Iterable[Metric]:
        added = HistogramMetricFamily(
            f"{_PREFIX}_write_added_seconds",
            "What replication adds to the latency of VM writes: from the local write"
            " to the reply; a wait at a full window counts once.",
            labels=["group"],
        )
        stalls = HistogramMetricFamily(
            f"{_PREFIX}_checkpoint_stall_seconds",
            "How long a step of a checkpoint held VM writes up.",
            labels=["group"],
        )
        for label, group in self._groups.items():
            group.vm_writes.added.add_to(added, [label])
            group.stalls.add_to(stalls, [label])
        yield from (added, stalls)


def _resyncs(cores: Mapping[str, ForwarderCore]) -> Iterable[Metric]:
    resyncs = CounterMetricFamily(
        f"{_PREFIX}_resyncs",
        "Streams by what had to be compared in them.",
        labels=["group", "plan"],
    )
    for group, core in cores.items():
        for plan in ResyncPlan:
            resyncs.add_metric([group, plan.name.lower()], core.traffic.resyncs[plan])
    yield resyncs


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
        lost.add_metric([group], core.traffic.unreplicated_bytes)
        if core.committed is not None:
            committed.add_metric([group], core.committed)
        for each in ForwardState:
            state.add_metric([group, each.name.lower()], float(core.state is each))
    yield from (lost, committed, dirty, damaged, state)
