"""How each cost grows: with the write rate, the volume, the number of volumes, groups.

And what one epoch costs the secondary's memory by the blocks that it overwrites.
"""

from __future__ import annotations

import time
from statistics import linear_regression
from typing import TYPE_CHECKING

from tests.bench.load import fio
from tests.bench.load.loads import BY_NAME
from tests.bench.measure.scale import many
from tests.bench.measure.usage import cpu_of, resident_of
from tests.bench.peers import pair
from tests.bench.report.findings import Finding, Found, Grid, Panel
from tests.stack import NAMES, Stack, running

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.bench.measure.run import Run

_MIB = 1 << 20
_KIB = 1 << 10
_BLOCK = 4 * _KIB
_LOAD = BY_NAME["4k randwrite QD32"]
_RATES = (0, 500, 2000, 8000, 16000)
_SIZES_MIB = (64, 512, 4096, 16384)
_GROUPS = (1, 10, 20, 40)
_VOLUMES = (1, 10, 40, 100)
#: Blocks that one epoch overwrites, of a volume eight times as large as the last.
_BLOCKS = (0, 64 * _KIB, 128 * _KIB, 256 * _KIB, 512 * _KIB)
#: The write rate where something else is varied, in requests a second.
_STEADY = 2000
#: The part of a disk that is written where its size is varied, in bytes.
_WRITTEN = 64 * _MIB
_CPU = "% of a core"


def measure(run: Run) -> Found:
    """Takes the seconds for each point; the size is that of the filled volume."""
    folder, seconds, say = run.folder, run.seconds, run.say
    found = Found()
    say("by write rate")
    found.panels.append(_by_rate(folder / "rates", seconds))
    say("by volume size")
    found.panels.extend(_by_size(folder, seconds))
    say("by number of groups, and of volumes in a group")
    by_groups = Panel("Groups that write nothing", "groups of one volume", _CPU, {})
    by_volumes = Panel("A group that writes nothing", "volumes in it", _CPU, {})
    for panel, counts in ((by_groups, _GROUPS), (by_volumes, _VOLUMES)):
        for count in counts:
            shape = (count, 1) if panel is by_groups else (1, count)
            with many(folder / f"{panel.x_label} {count}", *shape) as stack:
                _add(panel, count, _cpu(stack, 0, seconds))
        found.panels.append(panel)
    say("by blocks that an epoch overwrites")
    by_blocks, behind = _by_blocks(folder / "blocks")
    found.panels.append(by_blocks)
    found.findings.extend(_of_undo_index(by_blocks.lines["secondary"], behind))
    say("of holes, and filled")
    found.grids.append(_holes_and_filled(folder, run.size, seconds))
    return found


def _by_rate(folder: Path, seconds: float) -> Panel:
    panel = Panel("4 KiB random writes", "writes a second", _CPU, {})
    with _of_holes(folder, 512 * _MIB) as stack:
        for rate in _RATES:
            used, reached = _cpu_and_rate(stack, rate, seconds)
            _add(panel, reached, used)
    return panel


def _by_size(folder: Path, seconds: float) -> list[Panel]:
    label = "volume of holes, MiB"
    used = Panel(f"{_STEADY} writes a second", label, _CPU, {}, log_x=True)
    memory = Panel("Memory at that rate", label, "MiB", {}, log_x=True)
    for mib in _SIZES_MIB:
        with _of_holes(folder / f"size{mib}", mib * _MIB) as stack:
            _add(used, mib, _cpu(stack, _STEADY, seconds))
            _add(memory, mib, resident_of(stack))
    return [used, memory]


def _by_blocks(folder: Path) -> tuple[Panel, float]:
    """An epoch of its own for each number of blocks: random, each block once.

    And the secondary's MiB behind the checkpoint that ends the last one.
    """
    panel = Panel("Memory by one epoch", "thousand blocks overwritten", "MiB", {})
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
    title = f"{_STEADY} writes a second all over a volume of {size // _MIB} MiB"
    grid = Grid(title, "volume", {})
    with _of_holes(folder / "holes", size) as stack:
        grid.cells["holes"] = _cells(stack, size, seconds)
    (folder / "filled").mkdir()
    with pair.filled(folder / "filled", size) as under_test:
        grid.cells["filled"] = _cells(under_test.stack, size, seconds)
    return grid


def _cells(stack: Stack, size: int, seconds: float) -> dict[str, float]:
    used = _cpu(stack, _STEADY, seconds, size)
    resident = resident_of(stack)
    return {
        **{f"{name}, {_CPU}": used[name] for name in used},
        **{f"{name}, MiB": resident[name] for name in ("primary", "secondary")},
    }


def _of_holes(folder: Path, size: int) -> AbstractContextManager[Stack]:
    """A protected pair of one volume that is all holes."""
    folder.mkdir()
    return running(folder, sizes=(size,), max_interval=1.0, policy_options=pair.POLICY)


def _cpu(
    stack: Stack, rate: int, seconds: float, size: int = _WRITTEN
) -> dict[str, float]:
    """CPU of each service while so many 4 KiB writes are asked for each second."""
    return _cpu_and_rate(stack, rate, seconds, size)[0]


def _cpu_and_rate(
    stack: Stack, rate: int, seconds: float, size: int = _WRITTEN
) -> tuple[dict[str, float], float]:
    """The same, and how many writes a second there were."""
    before = cpu_of(stack)
    reached = 0.0
    if rate:
        uri = stack.uri("primary")
        reached = fio.measure(uri, _LOAD, seconds, size, rate=rate).iops
    else:
        time.sleep(seconds)
    after = cpu_of(stack)
    used = {name: 100 * (after[name] - before[name]) / seconds for name in NAMES}
    return used, reached


def _add(panel: Panel, x: float, values: dict[str, float]) -> None:
    for name, value in values.items():
        panel.lines.setdefault(name, []).append((x, value))
