"""All benchmarks: what each measures, and the settings that the docs' figures have."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tests.bench.measure import (
    checkpoints,
    compare,
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
from tests.bench.report.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bench.measure.run import Run
    from tests.bench.report.findings import Found

_MIB = 1 << 20
_GIB = 1 << 30


class Bench(NamedTuple):
    """One benchmark.

    Attributes:
        name: of the command, the target and the files.
        what: it measures, in a line.
        settings: those of the docs' figures and of the goals; what is None it does not
            take.
        quick: to see that it works; no image may be smaller, no load shorter.
        takes: seconds with the docs' settings, about.
        measure: runs it.
        on_disk: its folder must not be tmpfs.
        files: so many of an image's size it keeps at once, at most: images and undo.
        least_room: bytes that it needs whatever the image's size is.
    """

    name: str
    what: str
    settings: Settings
    quick: Settings
    takes: int
    measure: Callable[[Run], Found]
    on_disk: bool = False
    files: int = 4
    least_room: int = 512 * _MIB

    def room(self, settings: Settings) -> int:
        """Bytes that must be free in its folder."""
        return max(self.files * (settings.size or 0), self.least_room)

    def not_judged(self, settings: Settings, file_system: str) -> str:
        """Why its goals say nothing of a run like this; empty where they do."""
        if settings.quick:
            return "a quick run only shows that it works"
        if not settings.reach(self.settings):
            return f"the goals are of {self.settings.text()}, or longer"
        if file_system != "tmpfs" and not self.on_disk:
            return f"the goals are of images on tmpfs, not on {file_system}"
        return ""


#: In the order of `make bench-all`: what depends most on a quiet machine comes first.
BENCHES = (
    Bench(
        "compare",
        "Six loads of fio's nbd engine on this system, QEMU's replication over TCP and"
        " over unix sockets, nbdkit and qemu-nbd, interleaved, and a failover at the"
        " end whose disk must be the last checkpoint",
        Settings(512 * _MIB, 2, 5),
        Settings(64 * _MIB, 0.3, 2, quick=True),
        430,
        compare.measure,
        files=13,
    ),
    Bench(
        "checkpoints",
        "The VM's stall at 20 checkpoints a second, their duration and its parts, at"
        " full load and paced at half of it, and how it grows with what is buffered",
        Settings(_GIB, 4, 5),
        Settings(64 * _MIB, 1, 2, quick=True),
        150,
        checkpoints.measure,
    ),
    Bench(
        "failover",
        "Time until a write is answered with all of the disk buffered, and the flush"
        " beside cp",
        Settings(4 * _GIB),
        Settings(64 * _MIB, quick=True),
        50,
        failover.measure,
    ),
    Bench(
        "cpu",
        "CPU a request, user and system, of each service under each load",
        Settings(512 * _MIB, 3),
        Settings(64 * _MIB, 1, quick=True),
        35,
        cpu.measure,
    ),
    Bench(
        "floors",
        "What a MiB costs at least: gRPC, disk, undo, checksum, socket, each alone",
        Settings(256 * _MIB, rounds=5),
        Settings(32 * _MIB, rounds=2, quick=True),
        10,
        floors.measure,
        files=2,
    ),
    Bench(
        "cost",
        "CPU a GiB of each service, its memory under load, bytes saved",
        Settings(512 * _MIB, 4),
        Settings(64 * _MIB, 1, quick=True),
        40,
        cost.measure,
    ),
    Bench(
        "scale",
        "100 volumes in 20 groups: idle, and one of them under load",
        Settings(seconds=3, rounds=3),
        Settings(seconds=1, rounds=1, quick=True),
        40,
        scale.measure,
    ),
    Bench(
        "coordinator",
        "One coordinator with up to 1,000 simulated groups, without gRPC and with it",
        Settings(seconds=5),
        Settings(seconds=2, quick=True),
        60,
        coordinator.measure,
    ),
    Bench(
        "cores",
        "What a second core brings: threads, or a process a group",
        Settings(rounds=5),
        Settings(rounds=2, quick=True),
        15,
        cores.measure,
    ),
    Bench(
        "resync",
        "What a VM keeps of its speed during a first copy of a disk that is half holes",
        Settings(1536 * _MIB, 4),
        Settings(256 * _MIB, 1, quick=True),
        45,
        resync.measure,
    ),
    Bench(
        "growth",
        "CPU and memory by write rate, volume size, volumes, groups, and blocks that an"
        " epoch overwrites; of holes and filled; with a plot",
        Settings(2 * _GIB, 4),
        Settings(256 * _MIB, 1, quick=True),
        240,
        growth.measure,
        least_room=7 * _GIB,  # both sides of 512 thousand blocks, and their undo
    ),
    Bench(
        "disk",
        "The comparison with images on a real disk",
        Settings(256 * _MIB, 1, 3),
        Settings(64 * _MIB, 0.3, 1, quick=True),
        190,
        compare.measure_on_disk,
        on_disk=True,
        files=13,
    ),
    Bench(
        "memory",
        "Memory of each service over one run; its slope over all of it, behind the"
        " first fifth, and over the last half; a plot",
        Settings(512 * _MIB, 600),
        Settings(64 * _MIB, 20, quick=True),
        610,
        memory.measure,
    ),
)
BY_NAME = {each.name: each for each in BENCHES}
