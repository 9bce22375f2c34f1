"""The primary's Prometheus metrics, read from the groups at each scrape."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector

from blkcolo.observe.group_samples import counters, gauges, state_gauge
from blkcolo_primary.core.forward_state import ForwardState
from blkcolo_primary.core.resync_plan import ResyncPlan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from prometheus_client.core import Metric

    from blkcolo_primary.core.comparison import Comparison
    from blkcolo_primary.runtime.group import ForwardGroup
    from blkcolo_primary.runtime.resync_run import ResyncRun

_PREFIX = "blkcolo_primary"

_COUNTERS: dict[str, tuple[str, Callable[[ForwardGroup], float]]] = {
    "sent_bytes": (
        "Bytes of write data sent to the secondary.",
        lambda group: group.core.traffic.sent_bytes,
    ),
    "acked_bytes": (
        "Bytes of write data that it has applied.",
        lambda group: group.core.traffic.acked_bytes,
    ),
    "resent_bytes": (
        "Bytes sent again by resyncs.",
        lambda group: group.core.traffic.resent_bytes,
    ),
    "unreplicated_bytes": (
        "Bytes that the VM wrote and no stream has brought to the secondary.",
        lambda group: group.core.traffic.unreplicated_bytes,
    ),
    "verify_mismatching_blocks": (
        "Blocks of 4 KiB in the extents that verifies found to differ.",
        lambda group: group.core.verification.differing_blocks,
    ),
}
_GAUGES: dict[str, tuple[str, Callable[[ForwardGroup], float | None]]] = {
    "protected": (
        "1 while every write is forwarded above a checkpoint.",
        lambda group: float(group.core.protected),
    ),
    "epoch": (
        "The epoch that VM writes belong to.",
        lambda group: group.core.epoch,
    ),
    "generation": (
        "The newest known generation.",
        lambda group: group.core.generation,
    ),
    "in_flight_bytes": (
        "Bytes sent and not applied yet.",
        lambda group: group.core.in_flight_bytes,
    ),
    "in_flight_writes": (
        "Writes, zeros and trims sent and not applied yet.",
        lambda group: group.core.in_flight_writes,
    ),
    "committed_epoch": (
        "The last committed checkpoint of this stream; no sample before the first.",
        lambda group: group.core.standing.committed,
    ),
    "intent_log_damaged": (
        "1 where the intent log was unusable at the start: a full resync is due.",
        lambda group: float(group.core.intent.damage is not None),
    ),
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
        lambda group: group.core.window.bytes,
    ),
    "window_writes": (
        "Writes in flight at which VM writes are held up; +Inf without a bound.",
        lambda group: group.core.window.writes,
    ),
    "no_progress_seconds": (
        "For how long the secondary applied nothing of what is under way.",
        lambda group: group.streams.no_progress_seconds,
    ),
    "resync_total_bytes": (
        "Bytes that this stream's resync compares in all; no sample without one.",
        lambda group: _resync_progress(group)[1],
    ),
    "resync_done_bytes": (
        "Bytes of it that are compared.",
        lambda group: _resync_progress(group)[0],
    ),
    "resync_rate_bytes_per_second": (
        "Its speed; no sample when none runs.",
        lambda group: _rate(group.streams.resync_run),
    ),
    "resync_eta_seconds": (
        "Seconds until it is complete at this speed; no sample if unknown.",
        lambda group: _eta_seconds(group.streams.resync_run),
    ),
    "verify_total_bytes": (
        "Bytes that the verify which runs compares in all; no sample when none runs.",
        lambda group: _verify_progress(group)[1],
    ),
    "verify_done_bytes": (
        "Bytes of it that are compared.",
        lambda group: _verify_progress(group)[0],
    ),
    "last_verified_checkpoint": (
        "The newest checkpoint behind a complete verify; no sample before one.",
        lambda group: group.verify.verified.checkpoint,
    ),
    "last_verified_timestamp_seconds": (
        "When the last verify was complete; no sample before one.",
        lambda group: group.verify.verified.completed_at or None,
    ),
}


def _rate(run: ResyncRun | None) -> float | None:
    return run.rate if run is not None else None


def _eta_seconds(run: ResyncRun | None) -> float | None:
    return run.eta_seconds if run is not None else None


def _resync_progress(group: ForwardGroup) -> tuple[int, int] | tuple[None, None]:
    """Done and total bytes of this stream's resync."""
    stream = group.core.stream
    return (None, None) if stream is None else _progress(stream.resync)


def _verify_progress(group: ForwardGroup) -> tuple[int, int] | tuple[None, None]:
    """Done and total bytes of the verify that runs."""
    running = group.core.verification.running
    return (None, None) if running is None else _progress(running.comparison)


def _progress(comparison: Comparison) -> tuple[int, int]:
    return comparison.done_bytes, comparison.total_bytes


class ForwardCollector(Collector):
    """Turns the groups' cores into samples."""

    def __init__(self, groups: Mapping[str, ForwardGroup]) -> None:
        """Takes the groups."""
        self._groups = groups

    def collect(self) -> Iterable[Metric]:
        """Yields every family, one sample a group."""
        yield from counters(_PREFIX, _COUNTERS, self._groups)
        yield from gauges(_PREFIX, _GAUGES, self._groups)
        states = {label: group.core.state for label, group in self._groups.items()}
        yield state_gauge(f"{_PREFIX}_state", ForwardState, states)
        yield from self._of_volumes()
        yield self._resyncs()
        yield from self._latencies()

    def _of_volumes(self) -> Iterable[Metric]:
        labels = ["group", "volume"]
        dirty = GaugeMetricFamily(
            f"{_PREFIX}_dirty_bytes",
            "Bytes of regions written since the last commit; no sample if unknown.",
            labels=labels,
        )
        served = CounterMetricFamily(
            f"{_PREFIX}_served_bytes",
            "Bytes that the VM read, wrote, zeroed or trimmed.",
            labels=labels,
        )
        for label, group in self._groups.items():
            found = group.core.intent.dirty_bytes_of_volumes
            for volume, value in zip(group.volumes, found, strict=False):
                dirty.add_metric([label, volume.name], value)
            for volume, value in zip(
                group.volumes, group.vm_writes.served, strict=True
            ):
                served.add_metric([label, volume.name], value)
        yield from (dirty, served)

    def _resyncs(self) -> Metric:
        resyncs = CounterMetricFamily(
            f"{_PREFIX}_resyncs",
            "Streams by what had to be compared in them.",
            labels=["group", "plan"],
        )
        for label, group in self._groups.items():
            for plan in ResyncPlan:
                count = group.core.traffic.resyncs[plan]
                resyncs.add_metric([label, plan.name.lower()], count)
        return resyncs

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
