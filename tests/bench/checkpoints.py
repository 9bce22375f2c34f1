"""What a checkpoint costs: the VM's stall, its own time, and how that grows."""

from __future__ import annotations

import itertools
import threading
import time
from statistics import median
from typing import TYPE_CHECKING

from tests.bench import fio, pair
from tests.bench.compare import fill
from tests.bench.findings import Finding
from tests.bench.loads import BY_NAME, Load
from tests.bench.peer import timed_ms
from tests.stack import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.stack import Stack

_MIB = 1 << 20
_PER_SECOND = 20
#: A completion this long after a checkpoint's call may still be held up by it, in ms.
_AROUND_MS = 40
_QD32 = BY_NAME["4k randwrite QD32"]


def measure(folder: Path, size: int, seconds: float) -> list[Finding]:
    """Runs on a pair with images of `size` bytes, each load `seconds` long."""
    base = folder / "base.img"
    fill(base, size)
    with pair.running(folder, base) as under_test:
        base.unlink()
        stack = under_test.stack
        stack.pause()
        without, _ = _gaps(stack, folder, size, seconds, checkpoints=False)
        during, durations = _gaps(stack, folder, size, seconds, checkpoints=True)
        small = _commit_ms(stack, _MIB, size)
        large = _commit_ms(stack, size, size)
    stall = _percentile(during, 99) - _percentile(without, 99)
    return [
        Finding("stall of VM writes around a checkpoint, p99", stall, "ms", 5),
        Finding("the same, p50", median(during) - median(without), "ms"),
        Finding("longest gap without checkpoints, p99", _percentile(without, 99), "ms"),
        Finding("checkpoints in the run", len(durations), ""),
        Finding(
            "duration of a checkpoint under load, p50", median(durations), "ms", 10
        ),
        Finding("the same, p99", _percentile(durations, 99), "ms"),
        Finding("checkpoint of 1 MiB, p50", small, "ms"),
        Finding(f"checkpoint of {size // _MIB} MiB, p50", large, "ms"),
        Finding("ratio of the two", large / small, "x", 2),
    ]


def _gaps(
    stack: Stack, folder: Path, size: int, seconds: float, *, checkpoints: bool
) -> tuple[list[float], list[float]]:
    """Longest gaps between completions around each moment, and checkpoint times.

    All in ms; the moments come 20 times a second.
    """
    moments: list[float] = []
    durations: list[float] = []
    ended = threading.Event()

    def tick() -> None:
        while not ended.wait(1 / _PER_SECOND):
            moments.append(time.time() * 1000)
            if checkpoints:
                began = time.perf_counter()
                stack.checkpoint()
                durations.append(timed_ms(began))

    ticking = threading.Thread(target=tick)
    ticking.start()
    try:
        completions = fio.completions_ms(
            stack.uri("primary"), _QD32, seconds, size, folder
        )
    finally:
        ended.set()
        ticking.join()
    return [_longest(completions, at) for at in moments[_PER_SECOND:]], durations


def _longest(completions: list[float], at: float) -> float:
    near = [c for c in completions if at - _AROUND_MS <= c <= at + _AROUND_MS]
    return max((b - a for a, b in itertools.pairwise(near)), default=0)


def _percentile(values: list[float], percent: int) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


def _commit_ms(stack: Stack, amount: int, size: int) -> float:
    """The median time of a checkpoint of so many buffered bytes, all applied."""
    block = min(amount, _MIB)
    load = Load("fill", "write", block, 8)
    times = []
    for _ in range(3):
        fio.write_once(stack.uri("primary"), load, amount, size)
        wait_until(lambda: _applied(stack), "all is applied", 120)
        began = time.perf_counter()
        stack.checkpoint()
        times.append(timed_ms(began))
    return median(times)


def _applied(stack: Stack) -> bool:
    return stack.primary_status().in_flight_bytes == 0
