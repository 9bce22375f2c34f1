"""The run: every peer under every load, interleaved, several rounds, then checked."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tests.bench.load import fio
from tests.bench.load.loads import BY_NAME, LOADS
from tests.bench.peers import pair, qemu_replication, unreplicated
from tests.bench.peers.images import digest, fill
from tests.bench.report.findings import Found
from tests.bench.report.results import judged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.bench.load.loads import Load
    from tests.bench.measure.run import Run
    from tests.bench.peers.peer import Burst, Peer

_SECTOR = 512
#: By name, what starts it on copies of an image.
PEERS: dict[str, Callable[[Path, Path], AbstractContextManager[Peer]]] = {
    pair.NAME: pair.running,
    qemu_replication.NAME: qemu_replication.over_tcp,
    qemu_replication.UNIX: qemu_replication.over_unix,
    unreplicated.NBDKIT: unreplicated.nbdkit,
    unreplicated.QEMU_NBD: unreplicated.qemu_nbd,
}


@dataclass(frozen=True)
class Plan:
    """What a comparison runs.

    Attributes:
        run: where, and with which settings.
        loads: the loads.
        peers: the peers' names.
    """

    run: Run
    loads: tuple[Load, ...] = LOADS
    peers: tuple[str, ...] = tuple(PEERS)


@dataclass
class _Comparison:
    """What was measured so far; `samples` by load and peer, one a round."""

    plan: Plan
    samples: dict[str, dict[str, list[dict[str, float]]]] = field(default_factory=dict)


def measure(run: Run) -> Found:
    """All loads on all peers."""
    return compare(Plan(run))


def measure_on_disk(run: Run) -> Found:
    """The same without a verdict: the goals are of tmpfs."""
    return replace(measure(run), findings=[])


def compare(plan: Plan) -> Found:
    """Runs it.

    Raises:
        AssertionError: the peers did not begin alike, or a replica was not the last
            checkpoint after failover.
    """
    running, run = _Comparison(plan), plan.run
    base = run.folder / "base.img"
    fill(base, run.size)
    with contextlib.ExitStack() as stack:
        peers: list[Peer] = [
            stack.enter_context(PEERS[name](run.folder, base)) for name in plan.peers
        ]
        check_alike(peers, base)
        base.unlink()
        for number in range(run.rounds):
            run.say(f"round {number + 1} of {run.rounds}")
            for load in plan.loads:
                for each in order(peers, number):
                    _run_load(running, load, each)
                    _write_back(run.folder)
        found = [(each, each.check_replica(_burst(run))) for each in peers]
    checks = {each.name: text for each, text in found if text is not None}
    result = Found(checks=checks, samples=running.samples)
    result.findings.extend(judged(result.rates))
    return result


def check_alike(peers: Iterable[Peer], base: Path) -> None:
    """All images are the base, with no holes, and read: in the page cache alike.

    Raises:
        AssertionError: one is not.
    """
    expected, size = digest(base), base.stat().st_size
    for each in peers:
        for image in each.images:
            assert digest(image) == expected, f"{image} does not begin as {base}"
            allocated = image.stat().st_blocks * _SECTOR
            assert allocated >= size, f"{image} begins with holes"
    _write_back(base.parent)


def order(peers: Sequence[Peer], number: int) -> list[Peer]:
    """A round's order: there and back, then another begins.

    What drifts over two rounds falls on all peers alike, and each comes first in turn.
    """
    first = number // 2 % len(peers)
    rotated = [*peers[first:], *peers[:first]]
    return rotated[::-1] if number % 2 else rotated


def _run_load(running: _Comparison, load: Load, peer: Peer) -> None:
    plan, run = running.plan, running.plan.run
    found = fio.measure(peer.uri, load, run.seconds, run.size)
    peer.after_burst()
    by_peer = running.samples.setdefault(load.name, {name: [] for name in plan.peers})
    by_peer[peer.name].append(found._asdict())
    run.say(
        f"{load.name:20} {peer.name:20} {found.iops:9.0f} IOPS"
        f" {found.mib_per_second:7.0f} MiB/s  p50 {found.p50_us:7.0f} us"
        f"  p99 {found.p99_us:7.0f} us"
    )


def _write_back(folder: Path) -> None:
    """On a disk: what one peer has left in the page cache is no load on the next."""
    for path in folder.rglob("*"):
        # A disk buffer that was just committed vanishes.
        with contextlib.suppress(FileNotFoundError):
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())


def _burst(run: Run) -> Burst:
    load, seconds = BY_NAME["4k randwrite QD32"], min(run.seconds, 1)

    def write(uri: str) -> None:
        fio.measure(uri, load, seconds, run.size)

    return write
