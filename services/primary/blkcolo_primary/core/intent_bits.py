"""The bits of the intent log that commits of a stream make superfluous."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blkcolo.intent.file import Base

if TYPE_CHECKING:
    from blkcolo_primary.core.forwarder import ForwarderCore


def are_foreign(core: ForwarderCore) -> bool:
    """True if the log is of another copy than the one that has a checkpoint now."""
    base = core.intent.base
    return core.standing.committed is not None and (
        base is None or base.replica_id != core.standing.replica_id
    )


def finish_clear(core: ForwarderCore, *, durable: bool) -> None:
    """Clears what the commits of this stream made superfluous.

    Needs `intent.start_clear`, and with `durable` a sync of the disks after it.

    Raises:
        OSError: the disk refused; nothing is lost.
    """
    replica_id, committed = core.standing.replica_id, core.standing.committed
    if committed is None:
        core.intent.abandon_clear()
        return
    core.intent.finish_clear(Base(replica_id, committed), durable=durable)
