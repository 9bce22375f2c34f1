"""When a look at the primary that waits is to be answered.

The caller names what it acts on. What is not named here it would not act on, or learns
in time when the look's own time is over.
"""

from __future__ import annotations

from typing import NamedTuple


class ForwardWatch(NamedTuple):
    """What the caller acts on; the group REPLICATES, or that is something to act on.

    Attributes:
        generation: it acts if another one is in force.
        epoch: or if VM writes belong to another one.
        sent_bytes: or if so many were sent since the last barrier; 0: no matter.
        written: or if anything was written since.
    """

    generation: int
    epoch: int
    sent_bytes: int = 0
    written: bool = False


class ForwardNow(NamedTuple):
    """How the group is.

    Attributes:
        replicating: it is REPLICATING.
        generation: the newest known one.
        epoch: what VM writes belong to.
        sent_bytes: since the last barrier.
        records: writes, zeros and trims since.
    """

    replicating: bool
    generation: int
    epoch: int
    sent_bytes: int
    records: int


def due(watch: ForwardWatch, now: ForwardNow) -> bool:
    """True if there is something to act on."""
    return (
        not now.replicating
        or now.generation != watch.generation
        or now.epoch != watch.epoch
        or 0 < watch.sent_bytes <= now.sent_bytes
        or (watch.written and now.records > 0)
    )
