"""Medians, ratios and goals of a comparison: values in, values out."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from tests.bench.peers import pair, qemu_replication, unreplicated
from tests.bench.report.findings import Finding

if TYPE_CHECKING:
    from tests.bench.report.findings import Rates


class Goal(NamedTuple):
    """This system is to be at least `factor` times as fast as `peer`."""

    load: str
    peer: str
    factor: float


class Ratio(NamedTuple):
    """Of all rounds."""

    median: float
    low: float
    high: float


GOALS = (
    Goal("4k randwrite QD1", qemu_replication.NAME, 2.5),
    Goal("4k randwrite QD1", unreplicated.NBDKIT, 0.7),
    Goal("4k randwrite QD32", qemu_replication.NAME, 12),
    Goal("4k randwrite QD32", unreplicated.NBDKIT, 0.6),
    Goal("64k write QD16", qemu_replication.NAME, 4),
    Goal("1M write QD8", qemu_replication.NAME, 2.5),
    Goal("1M write QD8", unreplicated.NBDKIT, 0.4),
    Goal("4k randread QD32", unreplicated.NBDKIT, 1),
)
#: What is told beside a goal of the other, without a goal of its own.
BESIDE = {qemu_replication.NAME: qemu_replication.UNIX}


def ratio(rates: Rates, load: str, peer: str, ours: str = pair.NAME) -> Ratio | None:
    """Our rate divided by the peer's, round by round; None where one is missing.

    Ratios are taken within a round, so a busy moment of the machine slows both.
    """
    mine, theirs = rates.get(load, {}).get(ours), rates.get(load, {}).get(peer)
    if not mine or not theirs:
        return None
    found = [a / b for a, b in zip(mine, theirs, strict=True)]
    return Ratio(median(found), min(found), max(found))


def medians(rates: Rates) -> dict[str, dict[str, float]]:
    """The median rate of each peer under each load."""
    return {
        load: {peer: median(each) for peer, each in by_peer.items()}
        for load, by_peer in rates.items()
    }


def judged(rates: Rates) -> list[Finding]:
    """Each goal that was measured, and what is told beside it."""
    found = []
    for goal in GOALS:
        found += _reached(rates, goal.load, goal.peer, goal.factor)
        if goal.peer in BESIDE:
            found += _reached(rates, goal.load, BESIDE[goal.peer])
    return found


def _reached(
    rates: Rates, load: str, peer: str, factor: float | None = None
) -> list[Finding]:
    """The ratio to a peer; nothing where it was not measured."""
    reached = ratio(rates, load, peer)
    if reached is None:
        return []
    spread = (reached.low, reached.high)
    return [Finding(f"{load}, of {peer}", reached.median, "x", factor, True, spread)]
