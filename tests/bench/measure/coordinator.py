"""A thousand groups on one coordinator, at one checkpoint a second each.

The nodes are simulated, and answer at once. What is measured is the CPU of the
coordinator's process alone: without gRPC its own work, with gRPC its calls as well.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import uvloop

from blkcolo.process import logs, memory
from blkcolo.rpc.client import Dialer
from blkcolo_coordinator.core.group_record import GroupRecord
from blkcolo_coordinator.core.policy import Policy
from blkcolo_coordinator.peers.node_channel import NodeChannels
from blkcolo_coordinator.peers.pair import Pair
from blkcolo_coordinator.record.store import Store
from blkcolo_coordinator.runtime.counts import CoordinatorMetrics
from blkcolo_coordinator.runtime.group_driver import GroupDriver
from blkcolo_coordinator.settings import CoordinatorSettings
from tests.bench.measure import simulated_nodes
from tests.bench.measure.usage import cpu_seconds
from tests.bench.report.findings import Finding, Found, Grid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.bench.measure.run import Run
    from tests.bench.measure.simulated_nodes import Nodes

_COUNTS = (10, 100, 1000)
#: At most so long until all have connected and committed once, in seconds.
_START_SECONDS = 30
_GOAL = 50
_GRPC = "with gRPC"
_WRITTEN = "with gRPC, VMs that write"


def measure(run: Run) -> Found:
    """The coordinator's CPU by the number of groups."""
    logs.configure("coordinator", "critical", "json")
    memory.collect_rarely()  # as a service does
    grid = Grid("The coordinator's process alone", "groups", {})
    findings = []
    with simulated_nodes.process() as nodes:
        for how, pair_of in _HOWS.items():
            for count in _COUNTS:
                run.say(f"{count} groups {how}")
                scratch = run.folder / f"{count} {how}"
                scratch.mkdir()
                settings = CoordinatorSettings(data_dir=scratch)
                used, of_nodes, rate = uvloop.run(
                    _drive(settings, _names(how, count), nodes, pair_of, run.seconds)
                )
                cells = grid.cells.setdefault(f"{count:,}", {})
                cells[f"{how}: % of a core"] = used
                if how == _GRPC:
                    cells["the nodes' process: % of a core"] = of_nodes
                cells[f"{how}: checkpoints a second"] = rate
                if count == _COUNTS[-1]:
                    findings += _judged(how, used, rate)
    return Found(findings=findings, grids=[grid])


def _names(how: str, count: int) -> list[str]:
    kind = simulated_nodes.WRITTEN_TO if how == _WRITTEN else ""
    return [f"{kind}vm{number}" for number in range(count)]


def _judged(how: str, used: float, rate: float) -> list[Finding]:
    """Of the largest number of groups."""
    what = f"{_COUNTS[-1]:,} groups, {how}"
    share = rate / _COUNTS[-1]
    return [
        Finding(f"{what}: CPU", used, "% of a core", _GOAL),
        Finding(f"{what}: of a checkpoint a second each", share, "x", 0.95, True),
        Finding(f"{what}: CPU a checkpoint", 10 * used / rate, "ms"),
    ]


def _in_process(*_: object) -> Any:
    return simulated_nodes.PairInProcess()


def _over_grpc(
    record: GroupRecord, settings: CoordinatorSettings, channels: NodeChannels
) -> Pair:
    return Pair(record, settings.call_timeout_seconds, channels)


_HOWS: dict[str, Callable[..., Any]] = {
    "without gRPC": _in_process,
    _GRPC: _over_grpc,
    _WRITTEN: _over_grpc,
}


async def _drive(
    settings: CoordinatorSettings,
    names: Sequence[str],
    nodes: Nodes,
    pair_of: Callable[..., Any],
    seconds: float,
) -> tuple[float, float, float]:
    """CPU of the coordinator and of the nodes in % of a core; checkpoints a second."""
    store = Store(settings.data_dir / "coordinator.db")
    metrics = CoordinatorMetrics()
    channels = NodeChannels(Dialer(None, insecure=False))
    drivers: list[GroupDriver] = []
    for name in names:
        where = nodes.address
        record = GroupRecord(name, where, where, Policy(), generation=1)
        pair = pair_of(record, settings, channels)
        drivers.append(GroupDriver(record, store, pair, settings, metrics))
    for driver in drivers:
        driver.start()
    await _begun(drivers)
    began, before = time.monotonic(), _committed(drivers)
    cpu, cpu_of_nodes = time.process_time(), cpu_seconds(nodes.pid)
    await asyncio.sleep(seconds)
    elapsed = time.monotonic() - began
    used = 100 * (time.process_time() - cpu) / elapsed
    of_nodes = 100 * (cpu_seconds(nodes.pid) - cpu_of_nodes) / elapsed
    checkpoints = (_committed(drivers) - before) / elapsed
    await asyncio.gather(*(driver.close() for driver in drivers))
    return used, of_nodes, checkpoints


async def _begun(drivers: Sequence[GroupDriver]) -> None:
    """Connecting is not what is measured."""
    deadline = time.monotonic() + _START_SECONDS
    while not all(driver.record.committed for driver in drivers):
        assert time.monotonic() < deadline, "not all groups have begun"
        await asyncio.sleep(0.1)


def _committed(drivers: Sequence[GroupDriver]) -> int:
    return sum(driver.record.committed or 0 for driver in drivers)
