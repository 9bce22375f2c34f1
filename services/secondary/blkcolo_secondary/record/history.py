"""Which checkpoints are kept: by count, age and bytes, the oldest go first.

A kept checkpoint is the chain of undo layers that leads back to it, so only the
oldest can go. What is being read, and the last committed one, stay whatever the
bounds say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from blkcolo_secondary.record.group_journal import Checkpoint


@dataclass(frozen=True)
class HistoryPolicy:
    """What is kept besides the last committed checkpoint; 0: no such bound.

    Attributes:
        keep: so many at most; 0 keeps none.
        max_age_seconds: none that was committed longer ago.
        max_bytes: so many undo bytes at most.
    """

    keep: int = 0
    max_age_seconds: float = 0.0
    max_bytes: int = 0


def prune(
    history: Sequence[Checkpoint],
    policy: HistoryPolicy,
    now: float,
    undo_bytes: Callable[[int, int], int],
    in_use: Collection[int],
) -> tuple[Checkpoint, ...]:
    """The checkpoints that stay.

    Args:
        history: oldest first; the last one is the committed one.
        policy: the bounds.
        now: seconds since 1970.
        undo_bytes: bytes of the layers above one epoch, up to another.
        in_use: epochs that are being read.
    """
    kept = list(history)
    while len(kept) > 1 and kept[0].epoch not in in_use:
        oldest, committed = kept[0], kept[-1]
        age = now - oldest.committed_at
        held = undo_bytes(oldest.epoch, committed.epoch)
        if (
            len(kept) - 1 <= policy.keep
            and not 0 < policy.max_age_seconds < age
            and not 0 < policy.max_bytes < held
        ):
            break
        kept.pop(0)
    return tuple(kept)
