"""What a group goes on with when its service starts, by the phase it was in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blkcolo_secondary.buffer.disk_buffer import DiskBuffer
from blkcolo_secondary.core.replica_state import ReplicaState
from blkcolo_secondary.record.group_journal import Phase

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blkcolo.storage.files import BlockFile, Folder
    from blkcolo.storage.records import Progress
    from blkcolo.stream import VolumeId
    from blkcolo_secondary.record.group_journal import DurableState

_STATES = {
    Phase.ACTIVE: ReplicaState.DISCONNECTED,
    Phase.STOPPED: ReplicaState.STOPPED,
    Phase.ROLLING_BACK: ReplicaState.ROLLING_BACK,
    Phase.FAILING_OVER: ReplicaState.FAILING_OVER,
    Phase.SETTLING: ReplicaState.FAILING_OVER,
    Phase.FAILED_OVER: ReplicaState.FAILED_OVER,
}


def state_at_start(durable: DurableState) -> ReplicaState:
    """The state that a phase is gone on with."""
    return _STATES[durable.phase]


def open_buffer(
    durable: DurableState,
    volumes: Sequence[VolumeId],
    disks: Sequence[BlockFile],
    folder: Folder,
    host: bool,
    progress: Progress | None,
) -> DiskBuffer:
    """Reads the Disk Buffer back; what the phase says is stale is removed.

    Raises:
        DataLoss: a log is damaged.
    """
    phase, history = durable.phase, durable.history
    settled = phase in (Phase.STOPPED, Phase.FAILED_OVER)
    keeps = phase in (Phase.ACTIVE, Phase.STOPPED, Phase.ROLLING_BACK)
    return DiskBuffer(
        volumes,
        disks,
        folder,
        durable.base if durable.has_base else None,
        oldest_kept=history[0].epoch if keeps and history else None,
        undone=settled or phase is Phase.SETTLING,
        settled=settled,
        discarded=durable.discarded,
        host=host,
        progress=progress,
    )
