"""What a seed stands for: how the group is set up, and what its operator does.

    bit 0   power loss (`durability: host`), else only processes die
    bit 1   a Secondary VM writes to the view (COLO)
    bit 2   a failover is ordered, now and then to a kept checkpoint
    bit 3   replication is stopped and resumed
    bit 4   roles are changed: switchover, failover, reprotect, back and forth

So any 32 seeds in a row meet every combination; the rest is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator


_ROLES = 16


def seeds_of(*, changes_roles: bool) -> Iterator[int]:
    """All seeds, or those alone in which roles are changed."""
    return (seed for seed in count() if seed & _ROLES or not changes_roles)


@dataclass(frozen=True)
class Scenario:
    """One seed's setting; times are in seconds, sizes in bytes.

    Attributes:
        seed: what it was drawn from, by the rng that goes on drawing.
        host: power loss is to be survived.
        colo: a Secondary VM writes to the view.
        fails_over: a failover is ordered.
        stops: replication is stopped and resumed.
        changes_roles: roles are changed again and again.
        region: bytes that a bit of the intent log stands for; few, so that little is
            dirty, but where a survivor's disk is marked by blocks.
        calm: the VM writes seldom, and little: most of a disk is not dirty.
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
    changes_roles: bool
    region: int
    calm: bool
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
            changes_roles=bool(seed & _ROLES),
            region=4096 if seed & (4 | _ROLES) else 512,
            calm=rng.random() < (0.6 if seed & _ROLES else 0.1),
            keep=rng.choice((0, 0, 1, 3)),
            buffer_limit=rng.choice((0, 0, 24 << 10)),
            detach=rng.random() < 0.3,
            step=rng.choice((0.002, 0.002, 0.02)),
            faults_end=rng.uniform(2.0, 6.0),
        )
