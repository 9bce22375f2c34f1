"""A change of roles as the secondary's disk sees it: what is tracked, what is kept.

After a failover the VM writes here, and the intent log says where this disk leaves the
checkpoint that it was failed over to. After a demotion the disk is to be overwritten,
and undo layers lead back to what it held until the first checkpoint of the new copy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blkcolo.errors import Reason, Refused, translated
from blkcolo.intent.file import Base
from blkcolo_secondary.record.group_journal import Phase

if TYPE_CHECKING:
    from blkcolo.intent.log import IntentLog
    from blkcolo_secondary.buffer.disk_buffer import DiskBuffer
    from blkcolo_secondary.record.group_journal import GroupJournal


def track_from(
    intent: IntentLog, journal: GroupJournal, buffer: DiskBuffer, base: int
) -> None:
    """From here on the intent log says where this disk leaves C(base).

    What the failover undoes is marked at once: the old primary wrote it.

    Raises:
        BlkcoloError: the log could not be written; what it said before holds.
    """
    copy = Base(journal.state.replica_id, base)
    with translated("starting the intent log"):
        intent.start(copy, buffer.blocks_above(base), durable=buffer.host)


def check_demotion(group: str, committed: int | None, *, failed_over: bool) -> None:
    """Raises Refused where a demotion would give up a checkpoint that protects."""
    if committed is not None and not failed_over:
        raise Refused(
            Reason.WRONG_STATE,
            f"group {group} holds checkpoint {committed}: a demotion would give it up;"
            " only a side that served the VM is demoted",
        )


def keep_contents(
    journal: GroupJournal, buffer: DiskBuffer, generation: int, epoch: int
) -> None:
    """From here on undo layers lead back to what the disk holds now.

    Args:
        journal: the group's.
        buffer: its Disk Buffer; gives up every checkpoint of before.
        generation: the new one.
        epoch: the newest epoch of the group that is known.

    Raises:
        BlkcoloError: the disk refused; a survivor serves on, and calling again goes on.
    """
    with translated("removing dropped undo layers"):
        buffer.remove_stale()
    journal.update(
        generation=generation,
        phase=Phase.ACTIVE,
        epoch=epoch,
        has_base=False,
        base=None,
        history=(),
        replica_id="",
        is_replica=True,
        discarded=True,
    )
    buffer.save_all()
