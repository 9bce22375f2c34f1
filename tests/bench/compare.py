"""The run: every peer under every load, interleaved, several rounds, then checked."""

from __future__ import annotations

import contextlib
import os
import platform
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from tests.bench import fio, pair, qemu_replication, unreplicated
from tests.bench.loads import BY_NAME, LOADS
from tests.bench.results import Rates, judged, medians

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.bench.loads import Load
    from tests.bench.peer import Peer

_FILL_STEP = 4 << 20
#: By name, what starts it on copies of an image.
PEERS: dict[str, Callable[[Path, Path], AbstractContextManager[Peer]]] = {
    pair.NAME: pair.running,
    qemu_replication.NAME: qemu_replication.running,
    unreplicated.NBDKIT: unreplicated.nbdkit,
    unreplicated.QEMU_NBD: unreplicated.qemu_nbd,
}


@dataclass(frozen=True)
class Plan:
    """What a comparison runs.

    Attributes:
        size: bytes of each image.
        rounds: how often each load is run on each peer.
        seconds: how long each time.
        loads: the loads.
        peers: the peers' names.
    """

    size: int
    rounds: int
    seconds: float
    loads: tuple[Load, ...] = LOADS
    peers: tuple[str, ...] = tuple(PEERS)


@dataclass
class Comparison:
    """What a comparison found; `samples` by load and peer, one a round."""

    plan: Plan
    samples: dict[str, dict[str, list[fio.Measured]]] = field(default_factory=dict)
    checks: dict[str, str] = field(default_factory=dict)
    qemu_checkpoint_ms: list[float] = field(default_factory=list)

    @property
    def rates(self) -> Rates:
        """Requests a second."""
        return {
            load: {peer: [m.iops for m in each] for peer, each in by_peer.items()}
            for load, by_peer in self.samples.items()
        }

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return {
            "machine": {"cores": os.cpu_count(), "kernel": platform.release()},
            "plan": asdict(self.plan),
            "median_iops": medians(self.rates),
            "goals": [
                {**goal._asdict(), "reached": reached, "met": met}
                for goal, reached, met in judged(self.rates)
            ],
            "checks": self.checks,
            "qemu_checkpoint_ms": self.qemu_checkpoint_ms,
            "samples": {
                load: {p: [m._asdict() for m in each] for p, each in by_peer.items()}
                for load, by_peer in self.samples.items()
            },
        }


def fill(image: Path, size: int) -> None:
    """Makes an image of random bytes: no holes, nothing that compresses."""
    with image.open("wb") as file:
        for start in range(0, size, _FILL_STEP):
            file.write(os.urandom(min(_FILL_STEP, size - start)))


def compare(plan: Plan, folder: Path, say: Callable[[str], None]) -> Comparison:
    """Runs it in a folder that is empty.

    Raises:
        AssertionError: a replica was not the last checkpoint after failover.
    """
    result = Comparison(plan)
    base = folder / "base.img"
    fill(base, plan.size)
    with contextlib.ExitStack() as stack:
        peers: list[Peer] = [
            stack.enter_context(PEERS[name](folder, base)) for name in plan.peers
        ]
        base.unlink()
        for number in range(plan.rounds):
            for load in plan.loads:
                _run_load(result, load, _rotated(peers, number), say)
        for each in peers:
            found = each.check_replica(lambda uri: _burst(uri, plan))
            if found is not None:
                result.checks[each.name] = found
                say(f"{each.name}: {found}")
            if isinstance(each, qemu_replication.QemuReplication):
                result.qemu_checkpoint_ms = each.checkpoint_ms
    return result


def _rotated(peers: Sequence[Peer], number: int) -> Iterable[Peer]:
    """Another peer goes first in each round."""
    first = number % len(peers)
    return (*peers[first:], *peers[:first])


def _run_load(
    result: Comparison, load: Load, peers: Iterable[Peer], say: Callable[[str], None]
) -> None:
    for each in peers:
        plan = result.plan
        found = fio.measure(each.uri, load, plan.seconds, plan.size)
        each.after_burst()
        by_peer = result.samples.setdefault(load.name, {})
        by_peer.setdefault(each.name, []).append(found)
        say(
            f"{load.name:20} {each.name:20} {found.iops:9.0f} IOPS"
            f" {found.mib_per_second:7.0f} MiB/s  p50 {found.p50_us:7.0f} us"
            f"  p99 {found.p99_us:7.0f} us"
        )


def _burst(uri: str, plan: Plan) -> None:
    fio.measure(uri, BY_NAME["4k randwrite QD32"], min(plan.seconds, 1), plan.size)
