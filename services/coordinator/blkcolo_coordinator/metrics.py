"""The coordinator's Prometheus metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from blkcolo_coordinator.group_state import GroupState
from blkcolo_coordinator.policy import Trigger

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prometheus_client.core import Metric

    from blkcolo.errors import Reason
    from blkcolo_coordinator.checkpoint_run import CheckpointRun
    from blkcolo_coordinator.group_driver import GroupDriver

_PREFIX = "blkcolo_coordinator"
_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class CoordinatorMetrics:
    """Counts what happens; what is, `GroupCollector` reads at each scrape."""

    def __init__(self) -> None:
        """Registers everything in a registry of its own."""
        self.registry = CollectorRegistry()
        self._seconds = Histogram(
            f"{_PREFIX}_checkpoint_seconds",
            "How long the phases of committed checkpoints took.",
            ["group", "phase"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._checkpoints = Counter(
            f"{_PREFIX}_checkpoints",
            "Committed checkpoints by why they were taken.",
            ["group", "trigger"],
            registry=self.registry,
        )
        self._failures = Counter(
            f"{_PREFIX}_checkpoint_failures",
            "Checkpoints that were not committed, by reason.",
            ["group", "reason"],
            registry=self.registry,
        )
        self._losses = Counter(
            f"{_PREFIX}_protection_losses",
            "How often a group ceased to be protected, by reason.",
            ["group", "reason"],
            registry=self.registry,
        )

    def add_group(self, group: str) -> None:
        """Makes the group's counters start at 0."""
        for trigger in Trigger:
            self._checkpoints.labels(group, trigger)

    def committed(self, group: str, run: CheckpointRun, trigger: Trigger) -> None:
        """A checkpoint was committed."""
        self._checkpoints.labels(group, trigger).inc()
        for step, seconds in run.seconds.items():
            self._seconds.labels(group, step.value).observe(seconds)
        self._seconds.labels(group, "total").observe(run.total_seconds)

    def checkpoint_failed(self, group: str, reason: Reason) -> None:
        """A checkpoint was not committed."""
        self._failures.labels(group, reason.name).inc()

    def error(self, group: str, reason: Reason) -> None:
        """A group ceased to be protected."""
        self._losses.labels(group, reason.name).inc()


class GroupCollector(Collector):
    """Turns the groups' records into samples."""

    def __init__(self, drivers: Mapping[str, GroupDriver]) -> None:
        """Takes the groups."""
        self._drivers = drivers

    def collect(self) -> Iterable[Metric]:
        """Yields every family, one sample a group."""
        gauges = {
            name: GaugeMetricFamily(f"{_PREFIX}_{name}", text, labels=["group"])
            for name, text in (
                ("protected", "1 while replicating above a committed checkpoint."),
                ("generation", "The generation in force."),
                ("paused", "1 while automatic checkpoints are suspended."),
                ("committed_epoch", "The last committed checkpoint."),
                ("committed_timestamp_seconds", "When it was committed."),
            )
        }
        state = GaugeMetricFamily(
            f"{_PREFIX}_group_state",
            "1 for the state that holds.",
            labels=["group", "state"],
        )
        for group, driver in self._drivers.items():
            record = driver.record
            protected = record.state is GroupState.PROTECTED
            gauges["protected"].add_metric([group], float(protected))
            gauges["generation"].add_metric([group], record.generation)
            gauges["paused"].add_metric([group], float(record.paused))
            if record.committed is not None:
                gauges["committed_epoch"].add_metric([group], record.committed)
                gauges["committed_timestamp_seconds"].add_metric(
                    [group], record.committed_at
                )
            for each in GroupState:
                holds = float(record.state is each)
                state.add_metric([group, each.name.lower()], holds)
        yield from (*gauges.values(), state)
