"""What a process uses: CPU, and memory of its own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.stack import NAMES

if TYPE_CHECKING:
    from tests.stack import Stack

_TICKS = 100


class Cpu(NamedTuple):
    """Seconds of a process since it started."""

    user: float
    system: float


def cpu_seconds(pid: int) -> float:
    """User and system time of a process since it started, to the nanosecond."""
    return time.clock_gettime((~pid << 3) | 2)  # clock_getcpuclockid(3) of another


def cpu(pid: int) -> Cpu:
    """What a process has used, to 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return Cpu(int(fields[11]) / _TICKS, int(fields[12]) / _TICKS)


def resident_mib(pid: int) -> float:
    """Memory of a process that is its own."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(pid)


def cpu_of(stack: Stack) -> dict[str, float]:
    """`cpu_seconds` of each service."""
    return {name: cpu_seconds(stack.processes[name].pid) for name in NAMES}


def resident_of(stack: Stack) -> dict[str, float]:
    """`resident_mib` of each service."""
    return {name: resident_mib(stack.processes[name].pid) for name in NAMES}
