"""CPU a request, of each service under each load, in user space and in the kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.bench.load import fio
from tests.bench.load.loads import LOADS
from tests.bench.measure.usage import cpu
from tests.bench.peers import pair
from tests.bench.peers.images import fill
from tests.bench.report.findings import Found, Grid
from tests.stack import NAMES, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.bench.load.loads import Load
    from tests.bench.peers.pair import Pair

_US = 1_000_000
_WARM_UP_SECONDS = 0.5


def measure(
    folder: Path, size: int, seconds: float, say: Callable[[str], None]
) -> Found:
    """Runs each load on a pair with images of `size` bytes."""
    base = folder / "base.img"
    fill(base, size)
    grid = Grid("Microseconds of CPU a request", "load", {})
    with pair.running(folder, base) as under_test:
        base.unlink()
        for load in LOADS:
            say(load.name)
            grid.cells[load.name] = _microseconds(under_test, load, size, seconds)
    return Found(grids=[grid])


def _microseconds(
    under_test: Pair, load: Load, size: int, seconds: float
) -> dict[str, float]:
    stack = under_test.stack
    fio.measure(under_test.uri, load, _WARM_UP_SECONDS, size)
    before = {name: cpu(stack.processes[name].pid) for name in NAMES}
    requests = fio.measure(under_test.uri, load, seconds, size).iops * seconds
    wait_until(lambda: stack.primary_status().in_flight_bytes == 0, "applied", 60)
    cells = {}
    for name in ("primary", "secondary", "coordinator"):
        after = cpu(stack.processes[name].pid)
        for kind in ("user", "system"):
            used = getattr(after, kind) - getattr(before[name], kind)
            cells[f"{name}, {kind}"] = _US * used / requests
    return cells
