"""What replication costs: CPU of each service, memory, bytes saved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.bench.load import fio
from tests.bench.load.loads import BY_NAME, Load
from tests.bench.measure.usage import cpu_of, resident_of
from tests.bench.peers import pair
from tests.bench.report.findings import Finding, Found
from tests.stack import NAMES

if TYPE_CHECKING:
    from tests.bench.measure.run import Run
    from tests.stack import Stack

_GIB = 1 << 30
_MIB = 1 << 20
_LOADS = ("4k randwrite QD32", "1M write QD8")


def measure(run: Run) -> Found:
    """Runs on a pair at two loads."""
    folder, size, seconds = run.folder, run.size, run.seconds
    found: list[Finding] = []
    with pair.filled(folder, size) as under_test:
        stack = under_test.stack
        for name in _LOADS:
            found += _cpu(stack, BY_NAME[name], seconds, size)
        found += _memory(stack, seconds, size)
        found.append(_amplification(stack, size))
    return Found(found)


def _cpu(stack: Stack, load: Load, seconds: float, size: int) -> list[Finding]:
    before = cpu_of(stack)
    sent = stack.primary_status().sent_bytes
    fio.measure(stack.uri("primary"), load, seconds, size)
    pair.wait_applied(stack)
    after = cpu_of(stack)
    gib = (stack.primary_status().sent_bytes - sent) / _GIB
    return [
        Finding(
            f"{load.name}: {name}",
            (after[name] - before[name]) / gib,
            "CPU s/GiB",
        )
        for name in NAMES
    ]


def _memory(stack: Stack, seconds: float, size: int) -> list[Finding]:
    """Grows by how much from the end of a first load to the end of three more."""
    load = BY_NAME[_LOADS[0]]
    fio.measure(stack.uri("primary"), load, seconds, size)
    before = resident_of(stack)
    for _ in range(3):
        fio.measure(stack.uri("primary"), load, seconds, size)
    found: list[Finding] = []
    for name, after in resident_of(stack).items():
        found.append(Finding(f"memory of {name} under load", after, "MiB"))
        found.append(Finding("its growth meanwhile", after - before[name], "MiB"))
    return found


def _amplification(stack: Stack, size: int) -> Finding:
    """Bytes saved a byte that was overwritten for the first time."""
    stack.pause()
    stack.checkpoint()
    amount = min(size // 4, 64 * _MIB)
    load = Load("once", "randwrite", 4096, 32)
    fio.write_once(stack.uri("primary"), load, amount, size, cover=True)
    pair.wait_applied(stack)
    saved = stack.secondary_status().buffer_bytes
    return Finding("saved / overwritten first, 4k random", saved / amount, "x", 1.2)
