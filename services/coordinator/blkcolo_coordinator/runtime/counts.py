"""Counts what happens to the groups, for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram

from blkcolo_coordinator.core.policy import Trigger

if TYPE_CHECKING:
    from blkcolo.errors import Reason
    from blkcolo_coordinator.runs.checkpoint_run import CheckpointRun

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
