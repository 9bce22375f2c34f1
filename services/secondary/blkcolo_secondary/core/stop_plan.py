"""StopReplication: where each mode leads, planned before anything is changed."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple

from blkcolo.errors import Reason, Refused
from blkcolo_secondary.core.replica_state import Event, ReplicaState, advance
from blkcolo_secondary.record.group_journal import Phase

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blkcolo_secondary.buffer.disk_buffer import DiskBuffer
    from blkcolo_secondary.record.group_journal import GroupJournal


class StopMode(enum.IntEnum):
    """What StopReplication leaves; the numbers are those of blkcolo.v1.StopMode."""

    FAILOVER = 1
    ROLLBACK = 2
    KEEP_LATEST = 3


class StopPlan(NamedTuple):
    """Where a stop leads.

    Attributes:
        state: the state that holds from now on.
        phase: the same, as the journal keeps it.
        base: the checkpoint that the disk goes to; None: there is none.
        keeps_layers: the layers are still needed; otherwise, without a base, the disk
            stays as it is.
    """

    state: ReplicaState
    phase: Phase
    base: int | None
    keeps_layers: bool


_EVENTS = {
    StopMode.FAILOVER: Event.FAIL_OVER,
    StopMode.ROLLBACK: Event.ROLL_BACK,
    StopMode.KEEP_LATEST: Event.KEEP_LATEST,
}
_PHASES = {
    ReplicaState.FAILING_OVER: Phase.FAILING_OVER,
    ReplicaState.ROLLING_BACK: Phase.ROLLING_BACK,
    ReplicaState.STOPPED: Phase.STOPPED,
}
_LEADS_TO = {
    StopMode.FAILOVER: (ReplicaState.FAILING_OVER, ReplicaState.FAILED_OVER),
    StopMode.ROLLBACK: (ReplicaState.ROLLING_BACK, ReplicaState.STOPPED),
    StopMode.KEEP_LATEST: (ReplicaState.STOPPED,),
}


def stopped_already(state: ReplicaState, mode: StopMode) -> bool:
    """True if such a stop was done, or is under way."""
    return state in _LEADS_TO[mode]


def plan_stop(
    group: str,
    state: ReplicaState,
    mode: StopMode,
    checkpoints: Sequence[int],
    target: int | None,
    *,
    discarded: bool,
) -> StopPlan:
    """Says where a stop leads.

    Args:
        group: its name, for errors.
        state: the state that holds.
        mode: what is to be left.
        checkpoints: what failover can lead to, oldest first.
        discarded: the layers lead back to contents that a change of roles discarded.
        target: with FAILOVER the checkpoint that was asked for; None: the last one.

    Raises:
        Refused: the state does not allow it, or there is no such checkpoint.
    """
    following = advance(group, state, _EVENTS[mode])
    committed = checkpoints[-1] if checkpoints else None
    restored = discarded and state is ReplicaState.STOPPED
    if mode is StopMode.FAILOVER and committed is None and not restored:
        raise Refused(
            Reason.NO_CHECKPOINT,
            f"group {group} has no committed checkpoint: there is nothing"
            " to fail over to; resume replication and wait for one",
        )
    check_target(group, target, checkpoints)
    if mode is StopMode.FAILOVER and committed is None:
        # A rollback has brought the disk back to what was discarded: that is served.
        return StopPlan(following, _PHASES[following], None, keeps_layers=False)
    if mode is StopMode.ROLLBACK and discarded:
        return StopPlan(following, _PHASES[following], None, keeps_layers=True)
    if mode is StopMode.KEEP_LATEST or committed is None:
        return StopPlan(ReplicaState.STOPPED, Phase.STOPPED, None, keeps_layers=False)
    base = committed if target is None else target
    return StopPlan(following, _PHASES[following], base, keeps_layers=True)


def check_target(
    group: str, target: int | None, available: Sequence[int | None]
) -> None:
    """Raises Refused unless the checkpoint that was asked for, if any, is there."""
    if target is None or target in available:
        return
    raise Refused(
        Reason.NO_CHECKPOINT,
        f"group {group} does not hold checkpoint {target}, it holds"
        f" {', '.join(str(a) for a in available) or 'none'}; name one of these, or"
        " none for the last committed one",
        epoch=target,
    )


def carry_out(
    plan: StopPlan,
    journal: GroupJournal,
    buffer: DiskBuffer,
    generation: int,
    epoch: int,
) -> None:
    """Records where a stop leads, and gives up in the buffer what it does not need.

    Args:
        plan: where it leads.
        journal: the group's.
        buffer: its Disk Buffer; a flush does the rest where there is any.
        generation: the caller's.
        epoch: the newest epoch of the group.

    Raises:
        BlkcoloError: the journal could not be written: nothing happened.
    """
    durable, failover = journal.state, plan.state is ReplicaState.FAILING_OVER
    journal.update(
        generation=generation,
        phase=plan.phase,
        epoch=epoch,
        has_base=plan.base is not None,
        base=plan.base,
        history=durable.history if plan.base is not None else (),
        incarnation=durable.incarnation + 1,
        is_replica=durable.is_replica and not failover,
        discarded=durable.discarded and plan.keeps_layers,
    )
    if not plan.keeps_layers:
        buffer.forget_base()
    elif failover and plan.base is not None:
        buffer.lead_to(plan.base)
        buffer.direct = False
