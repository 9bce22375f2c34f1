"""Memory of each service over one long run, and by how much it rises."""

from __future__ import annotations

import time
from itertools import pairwise
from statistics import linear_regression
from typing import TYPE_CHECKING, NamedTuple

from tests.bench.load import fio
from tests.bench.load.loads import BY_NAME
from tests.bench.measure.usage import resident_of
from tests.bench.peers.pair import POLICY
from tests.bench.report.findings import Finding, Found, Panel
from tests.stack import Stack, running

if TYPE_CHECKING:
    from tests.bench.measure.run import Run

_LOAD = BY_NAME["4k randwrite QD32"]
_RATE = 8000
#: The first fifth fills windows, queues and caches: two of ten minutes.
_WARM_UP = 0.2
_SAMPLES = 300
_WINDOWS = 16
#: A rise of so many MiB a minute is less than a hundredth of a service in a minute.
_FLAT = 0.25
_PER_MINUTE = "MiB a minute"
#: Of the run: where nobody looked for longer, it was held up, and its lines say little.
_LONGEST_GAP = 0.02

#: Of one service: the time since the start, and MiB.
Points = list[tuple[float, float]]


class Part(NamedTuple):
    """A part of the run, its line of best fit, and whether that has a goal."""

    name: str
    left_out: float
    goal: float | None = None


#: Memory rises while it warms up, and may stand behind that: each line says one thing.
_PARTS = (
    Part("over the whole run", 0),
    Part("behind the first fifth", _WARM_UP, _FLAT),
    Part("over the last half", 0.5),
)


def measure(run: Run) -> Found:
    """Samples private memory under a steady load; fits lines to it."""
    panel = Panel(f"Memory, {_RATE} writes a second", "seconds", "MiB", {})
    run.say(f"{_RATE} writes a second for {run.seconds:g} s")
    with running(
        run.folder, sizes=(run.size,), max_interval=1.0, policy_options=POLICY
    ) as stack:
        _sample(stack, run, panel)
    findings = [*judged(panel, run.seconds), longest_gap(panel, run.seconds)]
    return Found(findings=findings, panels=[panel])


def _sample(stack: Stack, run: Run, panel: Panel) -> None:
    uri, began = stack.uri("primary"), time.monotonic()
    with fio.in_background(uri, _LOAD, run.seconds, run.size, rate=_RATE) as load:
        while load.poll() is None and (at := time.monotonic() - began) < run.seconds:
            for name, used in resident_of(stack).items():
                panel.lines.setdefault(name, []).append((at, used))
            time.sleep(run.seconds / _SAMPLES)


def judged(panel: Panel, seconds: float) -> list[Finding]:
    """The lines of best fit of each service, and where it began, ended and peaked."""
    found = []
    for name, line in panel.lines.items():
        found += [_slope(name, part, line, seconds) for part in _PARTS]
        points = _behind(line, _WARM_UP * seconds)
        slope, start = linear_regression(*zip(*points, strict=True))
        first, last = (start + slope * points[end][0] for end in (0, -1))
        peak = max(y for _, y in line)
        found += [
            _rise(f"{name}: slope of the lows", _lows(points), _FLAT),
            Finding(f"{name}: from, by the line behind the first fifth", first, "MiB"),
            Finding(f"{name}: to, by that line", last, "MiB"),
            Finding(f"{name}: peak", peak, "MiB"),
        ]
    return found


def longest_gap(panel: Panel, seconds: float) -> Finding:
    """The longest time between two looks, or before the first or behind the last."""
    looks = [x for x, _ in next(iter(panel.lines.values()))]
    gap = max(after - before for before, after in pairwise([0, *looks, seconds]))
    what = "longest time between two looks"
    return Finding(what, gap, "s", _LONGEST_GAP * seconds)


def _slope(name: str, part: Part, line: Points, seconds: float) -> Finding:
    minutes = seconds * (1 - part.left_out) / 60
    what = f"{name}: slope of the line {part.name}, {minutes:.1f} minutes"
    return _rise(what, _behind(line, part.left_out * seconds), part.goal)


def _rise(what: str, points: Points, goal: float | None) -> Finding:
    """A slope; its spread is that of the slopes without each of the windows."""
    left = [
        [*points[:start], *points[end:]] for start, end in pairwise(_windows(points))
    ]
    slopes = [_slope_of(each) for each in left]
    spread = (min(slopes), max(slopes))
    return Finding(what, _slope_of(points), _PER_MINUTE, goal, spread=spread)


def _slope_of(points: Points) -> float:
    return linear_regression(*zip(*points, strict=True)).slope


def _behind(line: Points, seconds: float) -> Points:
    return [(x / 60, y) for x, y in line if x >= seconds]


def _windows(points: Points) -> list[int]:
    """Where each begins, and the end of the last."""
    count = min(_WINDOWS, len(points))
    return [len(points) * number // count for number in range(count + 1)]


def _lows(points: Points) -> Points:
    """The lowest point of each window: queues fill and drain, a leak stays."""
    return [
        min(points[start:end], key=lambda point: point[1])
        for start, end in pairwise(_windows(points))
    ]
