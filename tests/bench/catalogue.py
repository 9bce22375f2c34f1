"""All benchmarks: what each measures, and the settings that the docs' figures have."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from tests.bench.measure import (
    checkpoints,
    coordinator,
    cores,
    cost,
    cpu,
    failover,
    floors,
    growth,
    memory,
    resync,
    scale,
)
from tests.bench.measure.compare import Plan, compare
from tests.bench.report.findings import Found
from tests.bench.report.record import Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.bench.report.findings import Finding

_MIB = 1 << 20
_GIB = 1 << 30


class Run(NamedTuple):
    """What a benchmark gets: an empty folder, settings, where to tell of progress."""

    folder: Path
    settings: Settings
    say: Callable[[str], None]

    @property
    def size(self) -> int:
        """Bytes of each image."""
        assert self.settings.size is not None
        return self.settings.size

    @property
    def seconds(self) -> float:
        """The length of each load."""
        assert self.settings.seconds is not None
        return self.settings.seconds

    @property
    def rounds(self) -> int:
        """How often each load is run."""
        assert self.settings.rounds is not None
        return self.settings.rounds


class Bench(NamedTuple):
    """One benchmark.

    Attributes:
        name: of the command, the target and the files.
        what: it measures, in a line.
        settings: those of the docs' figures; what is None it does not take.
        quick: to see that it works.
        takes: seconds with the docs' settings, about.
        measure: runs it.
        on_disk: its folder must not be tmpfs.
    """

    name: str
    what: str
    settings: Settings
    quick: Settings
    takes: int
    measure: Callable[[Run], Found]
    on_disk: bool = False


def _compare(run: Run) -> Found:
    return compare(Plan(run.size, run.rounds, run.seconds), run.folder, run.say)


def _found(findings: list[Finding]) -> Found:
    return Found(findings=findings)


#: In the order of `make bench-all`: what depends most on a quiet machine comes first.
BENCHES = (
    Bench(
        "compare",
        "Six loads of fio's nbd engine on this system, QEMU's replication, nbdkit and"
        " qemu-nbd, interleaved, and a failover at the end whose disk must be the last"
        " checkpoint",
        Settings(512 * _MIB, 2, 5),
        Settings(64 * _MIB, 0.3, 2, quick=True),
        340,
        _compare,
    ),
    Bench(
        "checkpoints",
        "The VM's stall at 20 checkpoints a second, their duration and its parts, and"
        " how it grows with what is buffered",
        Settings(_GIB, 10),
        Settings(64 * _MIB, 2, quick=True),
        90,
        lambda run: _found(checkpoints.measure(run.folder, run.size, run.seconds)),
    ),
    Bench(
        "failover",
        "Time until a write is answered with all of the disk buffered, and the flush"
        " beside cp",
        Settings(4 * _GIB),
        Settings(64 * _MIB, quick=True),
        50,
        lambda run: _found(failover.measure(run.folder, run.size)),
    ),
    Bench(
        "cpu",
        "CPU a request, user and system, of each service under each load",
        Settings(512 * _MIB, 3),
        Settings(64 * _MIB, 1, quick=True),
        35,
        lambda run: cpu.measure(run.folder, run.size, run.seconds, run.say),
    ),
    Bench(
        "floors",
        "What a MiB costs at least: gRPC, disk, undo, checksum, socket, each alone",
        Settings(256 * _MIB, rounds=5),
        Settings(32 * _MIB, rounds=2, quick=True),
        10,
        lambda run: floors.measure(run.folder, run.size, run.rounds),
    ),
    Bench(
        "cost",
        "CPU a GiB of each service, its memory under load, bytes saved",
        Settings(512 * _MIB, 4),
        Settings(64 * _MIB, 1, quick=True),
        40,
        lambda run: _found(cost.measure(run.folder, run.size, run.seconds)),
    ),
    Bench(
        "scale",
        "100 volumes in 20 groups: idle, and one of them under load",
        Settings(seconds=3, rounds=3),
        Settings(seconds=1, rounds=1, quick=True),
        40,
        lambda run: _found(scale.measure(run.folder, run.seconds, run.rounds)),
    ),
    Bench(
        "coordinator",
        "One coordinator with up to 1,000 simulated groups, without gRPC and with it",
        Settings(seconds=5),
        Settings(seconds=2, quick=True),
        60,
        lambda run: coordinator.measure(run.folder, run.seconds, run.say),
    ),
    Bench(
        "cores",
        "What a second core brings: threads, or a process a group",
        Settings(rounds=5),
        Settings(rounds=2, quick=True),
        15,
        lambda run: _found(cores.measure(run.folder, run.rounds)),
    ),
    Bench(
        "resync",
        "What a VM keeps of its speed during a first copy of a disk that is half holes",
        Settings(1536 * _MIB, 4),
        Settings(256 * _MIB, 1, quick=True),
        45,
        lambda run: resync.measure(run.folder, run.size, run.seconds, run.say),
    ),
    Bench(
        "growth",
        "CPU and memory by write rate, volume size, volumes, groups, and blocks that an"
        " epoch overwrites; of holes and filled; with a plot",
        Settings(4 * _GIB, 4),
        Settings(256 * _MIB, 1, quick=True),
        190,
        lambda run: growth.measure(run.folder, run.size, run.seconds, run.say),
    ),
    Bench(
        "disk",
        "The comparison with images on a real disk",
        Settings(256 * _MIB, 1, 3),
        Settings(64 * _MIB, 0.3, 1, quick=True),
        150,
        lambda run: replace(_compare(run), findings=[]),  # the goals are of tmpfs
        on_disk=True,
    ),
    Bench(
        "memory",
        "Memory of each service over one run, its slope behind the first fifth, a plot",
        Settings(512 * _MIB, 600),
        Settings(64 * _MIB, 20, quick=True),
        610,
        lambda run: memory.measure(run.folder, run.size, run.seconds),
    ),
)
BY_NAME = {each.name: each for each in BENCHES}
