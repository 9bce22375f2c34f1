"""CPU a request, of each service under each load, in user space and in the kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.bench.load import fio
from tests.bench.load.loads import LOADS
from tests.bench.measure.usage import cpu
from tests.bench.peers import pair
from tests.bench.report.findings import Found, Grid
from tests.stack import NAMES

if TYPE_CHECKING:
    from tests.bench.load.loads import Load
    from tests.bench.measure.run import Run
    from tests.bench.peers.pair import Pair

_US = 1_000_000
_WARM_UP_SECONDS = 0.5


def measure(run: Run) -> Found:
    """Runs each load on a pair."""
    grid = Grid("Microseconds of CPU a request", "load", {})
    with pair.filled(run.folder, run.size) as under_test:
        for load in LOADS:
            run.say(load.name)
            grid.cells[load.name] = _microseconds(under_test, load, run)
    return Found(grids=[grid])


def _microseconds(under_test: Pair, load: Load, run: Run) -> dict[str, float]:
    stack = under_test.stack
    fio.measure(under_test.uri, load, _WARM_UP_SECONDS, run.size)
    before = {name: cpu(stack.processes[name].pid) for name in NAMES}
    requests = (
        run.seconds * fio.measure(under_test.uri, load, run.seconds, run.size).iops
    )
    pair.wait_applied(stack)
    cells = {}
    for name in ("primary", "secondary", "coordinator"):
        after = cpu(stack.processes[name].pid)
        for kind in ("user", "system"):
            used = getattr(after, kind) - getattr(before[name], kind)
            cells[f"{name}, {kind}"] = _US * used / requests
    return cells
