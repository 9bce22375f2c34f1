"""What a seed stands for: how the group is set up, and what its operator does.

    bit 0   power loss (`durability: host`), else only processes die
    bit 1   a Secondary VM writes to the view (COLO)
    bit 2   a failover is ordered, now and then to a kept checkpoint
    bit 3   replication is stopped and resumed

So any 16 seeds in a row meet every combination; the rest is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random


@dataclass(frozen=True)
class Scenario:
    """One seed's setting; times are in seconds, sizes in bytes.

    Attributes:
        seed: what it was drawn from, by the rng that goes on drawing.
        host: power loss is to be survived.
        colo: a Secondary VM writes to the view.
        fails_over: a failover is ordered.
        stops: replication is stopped and resumed.
        keep: so many checkpoints are kept besides the committed one.
        buffer_limit: the Disk Buffer's limit; 0: none.
        detach: where the VM would be held up, the stream is given up instead.
        step: one step of the secondary's disk takes up to so long.
        faults_end: from here on everything works.
    """

    seed: int
    host: bool
    colo: bool
    fails_over: bool
    stops: bool
    keep: int
    buffer_limit: int
    detach: bool
    step: float
    faults_end: float

    @classmethod
    def draw(cls, seed: int, rng: random.Random) -> Scenario:
        """The setting of a seed."""
        return cls(
            seed,
            host=bool(seed & 1),
            colo=bool(seed & 2),
            fails_over=bool(seed & 4),
            stops=bool(seed & 8),
            keep=rng.choice((0, 0, 1, 3)),
            buffer_limit=rng.choice((0, 0, 24 << 10)),
            detach=rng.random() < 0.3,
            step=rng.choice((0.002, 0.002, 0.02)),
            faults_end=rng.uniform(2.0, 6.0),
        )
