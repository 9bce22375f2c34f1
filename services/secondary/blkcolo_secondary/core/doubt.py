"""Undo that may be wrong: the kept checkpoints that rest on it are given up.

A layer leads back from its epoch to the checkpoints before it. Where it is damaged, or
may have saved what rotted, those cannot be had any more; those from its epoch on are
untouched. Above the committed epoch it leads back to the committed one as well, which
stays until the next commit, and which that commit would keep: so the doubt is
remembered up to there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from blkcolo_secondary.buffer.disk_buffer import DiskBuffer
    from blkcolo_secondary.record.group_journal import (
        Checkpoint,
        DurableState,
        GroupJournal,
    )


def distrust(journal: GroupJournal, buffer: DiskBuffer, epoch: int) -> bool:
    """Gives up what rests on an epoch's layer: now, or at the commit that keeps it.

    Returns:
        False if that was known already, or nothing rests on it.

    Raises:
        BlkcoloError: the journal could not be written: nothing happened.
    """
    durable = journal.state
    if durable.failover_epoch is None or epoch > durable.failover_epoch:
        if durable.doubtful is not None and epoch <= durable.doubtful:
            return False
        journal.update(doubtful=epoch)
        return True
    left = tuple(kept for kept in durable.history if kept.epoch >= epoch)
    if left == durable.history:
        return False
    journal.update(history=left)
    buffer.layers.drop(lambda e: e <= left[0].epoch)
    return True


def trusted(durable: DurableState, committed: int) -> tuple[Checkpoint, ...]:
    """The kept checkpoints that are still right when an epoch is committed."""
    doubtful = durable.doubtful
    if doubtful is None or doubtful > committed:
        return durable.history
    return tuple(kept for kept in durable.history if kept.epoch >= doubtful)


def still_doubtful(durable: DurableState, committed: int) -> int | None:
    """What is in doubt behind that commit."""
    doubtful = durable.doubtful
    return doubtful if doubtful is not None and doubtful > committed else None
