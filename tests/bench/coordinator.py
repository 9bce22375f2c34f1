"""A thousand groups on one coordinator, at one checkpoint a second each.

The peers are simulated: they answer at once, and cost nothing. What is measured is
the coordinator's own work; its gRPC calls come on top.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import uvloop

from blkcolo.process import logs
from blkcolo.v1 import primary_pb2, secondary_pb2, types_pb2
from blkcolo_coordinator.core.group_record import GroupRecord
from blkcolo_coordinator.core.policy import Policy
from blkcolo_coordinator.record.store import Store
from blkcolo_coordinator.runtime.counts import CoordinatorMetrics
from blkcolo_coordinator.runtime.group_driver import GroupDriver
from blkcolo_coordinator.settings import CoordinatorSettings
from tests.bench.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_COUNTS = (10, 100, 1000)


class _Side:
    """Either side of a group: always there, always done."""

    def __init__(self, status: Any) -> None:
        self._status = status
        self.epoch = 0

    async def status(self) -> Any:
        return self._status

    async def prepare(self, epoch: int, *_: object) -> int:
        return epoch

    async def do_checkpoint(self, epoch: int, _: int) -> None:
        self._status.epoch = epoch + 1


class _Pair:
    """Both sides."""

    def __init__(self) -> None:
        self.primary = _Side(
            primary_pb2.ForwardStatus(
                state=types_pb2.FORWARD_STATE_REPLICATING, generation=1
            )
        )
        self.secondary = _Side(
            secondary_pb2.ReplicaStatus(
                state=types_pb2.REPLICA_STATE_RECEIVING, generation=1
            )
        )

    async def close(self) -> None:
        pass


def measure(folder: Path, seconds: float) -> list[Finding]:
    """The coordinator's CPU by the number of groups."""
    logs.configure("coordinator", "info", "json")
    found = []
    for count in _COUNTS:
        scratch = folder / str(count)
        scratch.mkdir()
        used, checkpoints = uvloop.run(_drive(scratch, count, seconds))
        goal = 50 if count == 1000 else None
        found.append(Finding(f"{count} groups", used, "% of a core", goal))
        found.append(Finding("checkpoints a second", checkpoints, ""))
    return found


async def _drive(folder: Path, count: int, seconds: float) -> tuple[float, float]:
    store = Store(folder / "coordinator.db")
    settings = CoordinatorSettings(data_dir=folder)
    metrics = CoordinatorMetrics()
    drivers: list[GroupDriver] = []
    for number in range(count):
        pair: Any = _Pair()
        record = GroupRecord(f"vm{number}", "p", "s", Policy(), generation=1)
        drivers.append(GroupDriver(record, store, pair, settings, metrics))
    for driver in drivers:
        driver.start()
    await asyncio.sleep(2)
    began, cpu, before = time.monotonic(), time.process_time(), _committed(drivers)
    await asyncio.sleep(seconds)
    elapsed = time.monotonic() - began
    used = 100 * (time.process_time() - cpu) / elapsed
    checkpoints = (_committed(drivers) - before) / elapsed
    for driver in drivers:
        await driver.close()
    return used, checkpoints


def _committed(drivers: Sequence[GroupDriver]) -> int:
    return sum(driver.record.committed or 0 for driver in drivers)
