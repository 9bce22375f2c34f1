"""How each cost grows: with the write rate, the volume, the number of groups, volumes.

And what one epoch costs memory by the blocks that it overwrites. Each cost is measured
at several points, one variable at a time; what law they follow is told with them.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from pathlib import Path
from statistics import linear_regression
from typing import TYPE_CHECKING

from tests.bench.load import fio, in_turn
from tests.bench.load.loads import BY_NAME
from tests.bench.measure.scale import ManyGroups, many
from tests.bench.measure.usage import cpu_of, resident_of
from tests.bench.peers import pair
from tests.bench.report.findings import Finding, Found, Grid, Panel
from tests.stack import NAMES, Stack, started

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.bench.measure.run import Run

_MIB = 1 << 20
_KIB = 1 << 10
_BLOCK = 4 * _KIB
_LOAD = BY_NAME["4k randwrite QD32"]
_RATES = (0, 250, 1000, 2000, 4000, 8000, 16000, 32000)
_SIZES_MIB = (64, 512, 4096, 16384)
_GROUPS = (1, 10, 40, 100, 200)
_VOLUMES = (1, 40, 100)
#: Blocks that one epoch overwrites, of a volume eight times as large as the last.
_BLOCKS = (0, 64 * _KIB, 128 * _KIB, 256 * _KIB, 512 * _KIB)
#: The write rate where something else is varied, in requests a second.
_STEADY = 2000
#: The same of each group, where their number is varied.
_A_GROUP = 5
#: Until the coordinator looks at groups that were idle as at those that write.
_WARM_UP_SECONDS = 1
#: The part of a disk that is written where its size is varied, in bytes.
_WRITTEN = 64 * _MIB
_CPU = "% of a core"


class _Costs:
    """What each service costs by one variable, as two plots: CPU and memory."""

    def __init__(
        self, title: str, x_label: str, step: float, per: str, *, log_x: bool = False
    ) -> None:
        """Takes what the variable is, and by which step of it a law is told."""
        told = (log_x, step, per)
        self.cpu = Panel(f"CPU {title}", x_label, _CPU, {}, *told)
        self.memory = Panel(f"Memory {title}", x_label, "MiB", {}, *told)

    def add(self, x: float, cpu: dict[str, float], memory: dict[str, float]) -> None:
        """Takes a point of each service."""
        _add(self.cpu, x, cpu)
        _add(self.memory, x, memory)

    @property
    def panels(self) -> list[Panel]:
        """Both, side by side."""
        return [self.cpu, self.memory]


def measure(run: Run) -> Found:
    """Takes the seconds for each point; the size is that of the filled volume."""
    folder, seconds, say = run.folder, run.seconds, run.say
    say("by write rate")
    panels = _by_rate(folder, seconds).panels
    say("by volume size")
    sizes, reached = _by_size(folder, seconds)
    panels += sizes.panels
    idle, written, made = _by_groups(run)
    panels += idle.panels + written.panels
    say("by number of volumes in a group")
    panels += _by_volumes(folder, seconds).panels
    say("by blocks that an epoch overwrites")
    by_blocks, behind = _by_blocks(folder)
    panels.append(by_blocks)
    say("of holes, and filled")
    grid = _holes_and_filled(folder, run.size, seconds)
    found = [
        Finding("writes made of those asked for, least of the sizes", reached, "x"),
        Finding("the same, least of the numbers of groups", made, "x"),
    ]
    found += _of_undo_index(by_blocks.lines["secondary"], behind)
    return Found(found, [grid], panels)


def _by_rate(folder: Path, seconds: float) -> _Costs:
    title, x_label = "by write rate", "4 KiB random writes a second"
    costs = _Costs(title, x_label, 1000, "per 1,000 writes/s")
    with _of_holes(folder, 512 * _MIB) as stack:
        for rate in _RATES:
            used, reached = _cpu_at(stack, rate, seconds)
            costs.add(reached, used, resident_of(stack))
    return costs


def _by_size(folder: Path, seconds: float) -> tuple[_Costs, float]:
    """And the least part of the rate that was reached."""
    title = f"by volume size, {_STEADY:,} writes/s"
    x_label = "MiB of a volume of holes"
    costs = _Costs(title, x_label, 1024, "per GiB", log_x=True)
    least = 1.0
    for mib in _SIZES_MIB:
        with _of_holes(folder, mib * _MIB) as stack:
            used, reached = _cpu_at(stack, _STEADY, seconds)
            costs.add(mib, used, resident_of(stack))
            least = min(least, reached / _STEADY)
    return costs, least


def _by_groups(run: Run) -> tuple[_Costs, _Costs, float]:
    """The same groups idle and written to; of the writes due, the share made."""
    step = (100, "per 100 groups")
    idle = _Costs("by idle groups", "groups that write nothing", *step)
    title = f"by groups, {_A_GROUP} writes/s each"
    written = _Costs(title, f"groups with {_A_GROUP} writes/s each", *step)
    made = 1.0
    for count in _GROUPS:
        run.say(f"{count} groups, idle and written to")
        with _many(run.folder, count, 1) as stack:
            idle.add(count, _idle(stack, run.seconds), resident_of(stack))
            used, share = _written_in_turn(stack, run.seconds)
            written.add(count, used, resident_of(stack))
            made = min(made, share)
    return idle, written, made


def _written_in_turn(
    stack: ManyGroups, seconds: float
) -> tuple[dict[str, float], float]:
    names = [f"vm{number}-disk0" for number in range(stack.groups)]
    shares = []
    with in_turn.connected(stack.nbd["primary"], names) as clients:

        def load(seconds: float = seconds) -> None:
            rate = _A_GROUP * stack.groups
            shares.append(in_turn.write(clients, rate, seconds))

        load(_WARM_UP_SECONDS)
        return _cpu(stack, seconds, load), min(shares)


def _by_volumes(folder: Path, seconds: float) -> _Costs:
    x_label = "volumes of a group that writes nothing"
    costs = _Costs("by volumes of an idle group", x_label, 100, "per 100 volumes")
    for count in _VOLUMES:
        with _many(folder, 1, count) as stack:
            costs.add(count, _idle(stack, seconds), resident_of(stack))
    return costs


def _by_blocks(folder: Path) -> tuple[Panel, float]:
    """An epoch of its own for each number of blocks: random, each block once.

    And the secondary's MiB behind the checkpoint that ends the last one.
    """
    panel = Panel(
        "Memory by blocks that one epoch overwrites",
        "thousand blocks of 4 KiB",
        "MiB",
        {},
        step=100,
        step_name="per 100,000 blocks",
    )
    size = 8 * _BLOCKS[-1] * _BLOCK
    with _of_holes(folder, size) as stack:
        stack.pause()
        for blocks in _BLOCKS:
            stack.checkpoint()
            if blocks:
                amount = blocks * _BLOCK
                fio.write_once(stack.uri("primary"), _LOAD, amount, size, cover=True)
                pair.wait_applied(stack)
            _add(panel, blocks / 1000, resident_of(stack))
        stack.checkpoint()
        return panel, resident_of(stack)["secondary"]


def _of_undo_index(line: list[tuple[float, float]], behind: float) -> list[Finding]:
    """From the secondary's memory by thousands of blocks."""
    slope, _ = linear_regression(*zip(*line, strict=True))
    largest, most = line[-1]
    return [
        Finding(
            "memory of the secondary a block that an epoch overwrites, random 4 KiB",
            slope * _MIB / 1000,
            "bytes",
        ),
        Finding(f"memory of the secondary at {largest:.0f} thousand", most, "MiB"),
        Finding("behind the checkpoint that ends that epoch", behind, "MiB"),
    ]


def _holes_and_filled(folder: Path, size: int, seconds: float) -> Grid:
    """The same load all over a volume of holes, and over one of random bytes."""
    title = f"{_STEADY:,} writes a second all over a volume of {size // _MIB} MiB"
    grid = Grid(title, "volume", {})
    with _of_holes(folder, size) as stack:
        grid.cells["holes"] = _cells(stack, size, seconds)
    with _scratch(folder) as scratch, pair.filled(scratch, size) as under_test:
        grid.cells["filled"] = _cells(under_test.stack, size, seconds)
    return grid


def _cells(stack: Stack, size: int, seconds: float) -> dict[str, float]:
    used, _ = _cpu_at(stack, _STEADY, seconds, size)
    resident = resident_of(stack)
    return {
        **{f"{name}, {_CPU}": used[name] for name in used},
        **{f"{name}, MiB": resident[name] for name in ("primary", "secondary")},
    }


@contextlib.contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """Each point's images are gone behind it: all at once they would need gigabytes."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        yield Path(scratch)


@contextlib.contextmanager
def _of_holes(folder: Path, size: int) -> Iterator[Stack]:
    """A protected pair of one volume that is all holes."""
    with _scratch(folder) as scratch:
        stack = Stack(
            scratch, sizes=(size,), max_interval=1.0, policy_options=pair.POLICY
        )
        with started(stack):
            yield stack


@contextlib.contextmanager
def _many(folder: Path, groups: int, volumes: int) -> Iterator[ManyGroups]:
    with _scratch(folder) as scratch, many(scratch / "many", groups, volumes) as stack:
        yield stack


def _idle(stack: Stack, seconds: float) -> dict[str, float]:
    return _cpu(stack, seconds, lambda: time.sleep(seconds))


def _cpu_at(
    stack: Stack, rate: int, seconds: float, size: int = _WRITTEN
) -> tuple[dict[str, float], float]:
    """CPU at so many 4 KiB writes a second, and how many there were."""
    if not rate:
        return _idle(stack, seconds), 0
    reached = []

    def load() -> None:
        found = fio.measure(stack.uri("primary"), _LOAD, seconds, size, rate=rate)
        reached.append(found.iops)

    return _cpu(stack, seconds, load), reached[0]


def _cpu(stack: Stack, seconds: float, load: Callable[[], object]) -> dict[str, float]:
    """CPU of each service while a load of so many seconds runs."""
    before = cpu_of(stack)
    load()
    after = cpu_of(stack)
    return {name: 100 * (after[name] - before[name]) / seconds for name in NAMES}


def _add(panel: Panel, x: float, values: dict[str, float]) -> None:
    for name in ("primary", "secondary", "coordinator"):
        panel.lines.setdefault(name, []).append((x, values[name]))
