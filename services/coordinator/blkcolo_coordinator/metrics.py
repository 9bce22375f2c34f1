"""The coordinator's Prometheus metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from blkcolo.observe.group_samples import state_gauge
from blkcolo.v1 import types_pb2
from blkcolo_coordinator.core.group_state import GroupState
from blkcolo_coordinator.core.service_level import Level, assess
from blkcolo_coordinator.runtime.group_facts import explained

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prometheus_client.core import Metric

    from blkcolo_coordinator.core.service_level import ServiceLevel
    from blkcolo_coordinator.runtime.group_driver import GroupDriver

_PREFIX = "blkcolo_coordinator"


class GroupCollector(Collector):
    """Turns the groups' records into samples."""

    def __init__(self, drivers: Mapping[str, GroupDriver]) -> None:
        """Takes the groups."""
        self._drivers = drivers

    def collect(self) -> Iterable[Metric]:
        """Yields every family, one sample a group."""
        gauges = {
            name: GaugeMetricFamily(f"{_PREFIX}_{name}", text, labels=["group"])
            for name, text in _GAUGES.items()
        }
        levels = GaugeMetricFamily(
            f"{_PREFIX}_service_level",
            "1 for how the recovery point compares with its target, and why.",
            labels=["group", "level", "reason"],
        )
        drivers = list(self._drivers.items())
        for group, driver in drivers:
            for name, value in _values(driver).items():
                if value is not None:
                    gauges[name].add_metric([group], value)
            held = _service_level(driver)
            for level in Level:
                reason = held.reason if level is held.level else ""
                levels.add_metric([group, level, reason], float(level is held.level))
        holding = {group: driver.record.state for group, driver in drivers}
        states = state_gauge(f"{_PREFIX}_group_state", GroupState, holding)
        yield from (*gauges.values(), states, levels, self._blocked())

    def _blocked(self) -> Metric:
        family = GaugeMetricFamily(
            f"{_PREFIX}_blocked",
            "1 for each precondition of a verb that is not met.",
            labels=["group", "verb", "reason"],
        )
        for group, driver in list(self._drivers.items()):
            for verb, conditions in explained(driver).items():
                for each in conditions:
                    family.add_metric([group, verb, each.name], float(not each.holds))
        return family


_GAUGES = {
    "protected": "1 while replicating above a committed checkpoint.",
    "generation": "The generation in force.",
    "paused": "1 while automatic checkpoints are suspended.",
    "committed_epoch": "The last committed checkpoint; no sample before the first.",
    "committed_timestamp_seconds": "When it was committed.",
    "losses_since_commit": "Streams lost since the last commit; 3 or more: no headway.",
    "rpo_seconds": "Age of what is safe: lost if the primary died now.",
    "rpo_bytes": "What the VM wrote since, by the last look: about 2 seconds old at"
    " most, and older while a side hangs; no sample if the primary does not answer.",
    "rpo_target_seconds": "The age that must not be exceeded; 0: none.",
}


def _values(driver: GroupDriver) -> dict[str, float | None]:
    record = driver.record
    return {
        "protected": float(record.state is GroupState.PROTECTED),
        "generation": record.generation,
        "paused": float(record.paused),
        "committed_epoch": record.committed,
        "committed_timestamp_seconds": record.committed_at or None,
        "losses_since_commit": driver.headway.losses,
        "rpo_seconds": driver.recovery_point_age,
        "rpo_bytes": _rpo_bytes(driver),
        "rpo_target_seconds": record.policy.rpo_target_seconds,
    }


def _rpo_bytes(driver: GroupDriver) -> float | None:
    """While it streams, what was sent; else the regions that the intent log names."""
    primary = driver.sides.primary
    if primary is None:
        return None
    if primary.state == types_pb2.FORWARD_STATE_REPLICATING:
        return float(primary.sent_bytes_in_epoch)
    return float(primary.dirty_bytes)


def _service_level(driver: GroupDriver) -> ServiceLevel:
    record, failure = driver.record, driver.failure
    return assess(
        record.state,
        driver.recovery_point_age,
        record.policy.rpo_target_seconds,
        paused=record.paused,
        failure=failure.reason if failure is not None else None,
    )
