"""Memory of each service over one long run, and by how much it rises."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from statistics import linear_regression
from typing import TYPE_CHECKING

from tests.bench.load import fio
from tests.bench.load.loads import BY_NAME
from tests.bench.measure.usage import resident_mib
from tests.bench.peers.pair import POLICY
from tests.bench.report.findings import Finding, Found, Panel
from tests.stack import NAMES, Stack, running

if TYPE_CHECKING:
    from pathlib import Path

_LOAD = BY_NAME["4k randwrite QD32"]
_RATE = 8000
#: The first fifth fills windows, queues and caches: two of ten minutes.
_WARM_UP = 0.2
_SAMPLES = 300
_WINDOWS = 16
#: A rise of so many MiB a minute is less than a hundredth of a service in a minute.
_FLAT = 0.25


def measure(folder: Path, size: int, seconds: float) -> Found:
    """Samples private memory under a steady load; fits a line behind the warm-up."""
    panel = Panel(f"Memory, {_RATE} writes a second", "seconds", "MiB", {})
    with running(
        folder, sizes=(size,), max_interval=1.0, policy_options=POLICY
    ) as stack:
        _sample(stack, size, seconds, panel)
    return Found(findings=judged(panel, seconds), panels=[panel])


def _sample(stack: Stack, size: int, seconds: float, panel: Panel) -> None:
    uri, began = stack.uri("primary"), time.monotonic()
    with ThreadPoolExecutor(1) as thread:
        writing = thread.submit(fio.measure, uri, _LOAD, seconds, size, rate=_RATE)
        while not writing.done() and time.monotonic() - began < seconds:
            at = time.monotonic() - began
            for name in NAMES:
                used = resident_mib(stack.processes[name].pid)
                panel.lines.setdefault(name, []).append((at, used))
            time.sleep(seconds / _SAMPLES)
        writing.result()


def _slope_of_lows(points: list[tuple[float, float]]) -> float:
    """Of the lowest point of each window: queues fill and drain, a leak stays."""
    length = -(-len(points) // _WINDOWS)
    lows = [
        min(points[start : start + length], key=lambda point: point[1])
        for start in range(0, len(points), length)
    ]
    return linear_regression(*zip(*lows, strict=True)).slope


def judged(panel: Panel, seconds: float) -> list[Finding]:
    """Slopes of the lines of best fit; each service's, and where it began and ended."""
    found = []
    per_minute = "MiB a minute"
    minutes = seconds * (1 - _WARM_UP) / 60
    for name, line in panel.lines.items():
        points = [(x / 60, y) for x, y in line if x >= seconds * _WARM_UP]
        slope, start = linear_regression(*zip(*points, strict=True))
        first, last = (start + slope * points[end][0] for end in (0, -1))
        what = f"{name}: slope over the last {minutes:.1f} minutes"
        found += [
            Finding(what, slope, per_minute, _FLAT),
            Finding(
                f"{name}: slope of the lows", _slope_of_lows(points), per_minute, _FLAT
            ),
            Finding(f"{name}: from, by that line", first, "MiB"),
            Finding(f"{name}: to", last, "MiB"),
            Finding(f"{name}: peak", max(y for _, y in points), "MiB"),
        ]
    return found
