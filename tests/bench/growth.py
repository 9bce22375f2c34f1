"""How each cost grows: with the write rate, the volume's size, the number of groups.

And with time: memory over one long run.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from tests.bench import fio
from tests.bench.cost import cpu_seconds, resident_mib
from tests.bench.loads import BY_NAME
from tests.bench.pair import POLICY
from tests.bench.scale import ManyGroups
from tests.stack import NAMES, Stack, running, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

_MIB = 1 << 20
_LOAD = BY_NAME["4k randwrite QD32"]
_RATES = (0, 500, 2000, 8000, 16000)
_SIZES_MIB = (64, 512, 4096, 16384)
_GROUPS = (1, 10, 20, 40)
#: The write rate where something else is varied, in requests a second.
_STEADY = 2000
#: The part of a disk that is written, in bytes: its undo fits into memory.
_WRITTEN = 64 * _MIB
_CPU = "% of a core"


class Panel(NamedTuple):
    """One plot: lines by name, each a list of (x, y)."""

    title: str
    x_label: str
    y_label: str
    lines: dict[str, list[tuple[float, float]]]
    log_x: bool = False


def measure(folder: Path, seconds: float) -> list[Panel]:
    """Takes `seconds` for each point."""
    by_rate = Panel("4 KiB random writes", "writes a second", _CPU, {})
    by_size = Panel(f"{_STEADY} writes a second", "volume, MiB", _CPU, {}, log_x=True)
    memory = Panel("Memory at that rate", "volume, MiB", "MiB", {}, log_x=True)
    by_groups = Panel("Groups that write nothing", "groups", _CPU, {})
    with _pair(folder / "rates", 512 * _MIB) as stack:
        for rate in _RATES:
            _add(by_rate, rate, _cpu(stack, rate, seconds))
    for mib in _SIZES_MIB:
        with _pair(folder / f"size{mib}", mib * _MIB) as stack:
            _add(by_size, mib, _cpu(stack, _STEADY, seconds))
            _add(memory, mib, _resident(stack))
    for count in _GROUPS:
        (folder / f"groups{count}").mkdir()
        many = ManyGroups(folder / f"groups{count}", count, 1)
        try:
            many.start()
            wait_until(many.all_protected, "all groups are protected", 120)
            time.sleep(2)  # until they count as quiet
            _add(by_groups, count, _cpu(many, 0, seconds))
        finally:
            many.close()
    return [by_rate, by_size, memory, by_groups]


def memory_over_time(folder: Path, seconds: float) -> list[Panel]:
    """Private memory of each service, sampled over one run of so many seconds."""
    panel = Panel(f"Memory, {_RATES[-2]} writes a second", "seconds", "MiB", {})
    with _pair(folder / "memory", 512 * _MIB) as stack:
        began = time.monotonic()
        while (elapsed := time.monotonic() - began) < seconds:
            _write(stack, _RATES[-2], min(10.0, seconds - elapsed))
            _add(panel, time.monotonic() - began, _resident(stack))
    return [panel]


def _pair(folder: Path, size: int) -> AbstractContextManager[Stack]:
    """A protected pair of one volume that is all holes."""
    folder.mkdir()
    return running(folder, sizes=(size,), max_interval=1.0, policy_options=POLICY)


def _cpu(stack: Stack, rate: int, seconds: float) -> dict[str, float]:
    """CPU of each service while so many 4 KiB writes are asked for each second."""
    before = {name: cpu_seconds(stack.processes[name].pid) for name in NAMES}
    began = time.monotonic()
    _write(stack, rate, seconds)
    elapsed = time.monotonic() - began
    return {
        name: 100 * (cpu_seconds(stack.processes[name].pid) - before[name]) / elapsed
        for name in NAMES
    }


def _write(stack: Stack, rate: int, seconds: float) -> None:
    if not rate:
        time.sleep(seconds)
        return
    fio.measure(stack.uri("primary"), _LOAD, seconds, _WRITTEN, rate=rate)


def _resident(stack: Stack) -> dict[str, float]:
    return {name: resident_mib(stack.processes[name].pid) for name in NAMES}


def _add(panel: Panel, x: float, values: dict[str, float]) -> None:
    for name, value in values.items():
        panel.lines.setdefault(name, []).append((x, value))


def rows(panels: list[Panel]) -> Iterator[tuple[str, str, str, str]]:
    """Every point as text: panel, line, x and y."""
    for panel in panels:
        for name, points in panel.lines.items():
            for x, y in points:
                yield (
                    panel.title,
                    name,
                    f"{x:g} {panel.x_label}",
                    (f"{y:.1f} {panel.y_label}"),
                )
