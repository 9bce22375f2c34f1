"""The states of a group's forwarding on the primary, and every step between them.

Rules: whatever changes the state is an event of this table; an event that a state
does not list is refused and changes nothing.
"""

from __future__ import annotations

import enum

from blkcolo.errors import BlkcoloError, Reason, Refused
from blkcolo.transitions import step


class ForwardState(enum.IntEnum):
    """What forwarding does; the numbers are those of blkcolo.v1.ForwardState."""

    #: Not replicating; the VM's disk is served.
    IDLE = 1
    #: Opening the stream.
    CONNECTING = 2
    #: Streaming; contents are compared, and sent again where they differ.
    RESYNCING = 3
    #: Streaming; both sides agreed.
    REPLICATING = 4
    #: The stream was lost; the VM writes on unprotected, or waits (freeze).
    LOST = 5
    #: A newer generation exists: VM writes are refused.
    FENCED = 6


class Event(enum.Enum):
    """What can happen to it."""

    #: StartReplication.
    START = "a start"
    #: The secondary answered the hello.
    WELCOME = "a welcome"
    #: The resync ended: both sides agree.
    RESYNCED = "the end of the resync"
    #: The stream broke, stalled, or was given up.
    LOSE = "a lost link"
    #: StopReplication.
    STOP = "a stop"
    #: Fence.
    FENCE = "a fence"


_S, _E = ForwardState, Event

TRANSITIONS: dict[ForwardState, dict[Event, ForwardState]] = {
    _S.IDLE: {
        _E.START: _S.CONNECTING,
        _E.STOP: _S.IDLE,
        _E.FENCE: _S.FENCED,
    },
    _S.CONNECTING: {
        _E.WELCOME: _S.RESYNCING,
        _E.LOSE: _S.LOST,
        _E.STOP: _S.IDLE,
        _E.FENCE: _S.FENCED,
    },
    _S.RESYNCING: {
        _E.RESYNCED: _S.REPLICATING,
        _E.LOSE: _S.LOST,
        _E.STOP: _S.IDLE,
        _E.FENCE: _S.FENCED,
    },
    _S.REPLICATING: {
        _E.LOSE: _S.LOST,
        _E.STOP: _S.IDLE,
        _E.FENCE: _S.FENCED,
    },
    _S.LOST: {
        _E.START: _S.CONNECTING,
        _E.STOP: _S.IDLE,
        _E.FENCE: _S.FENCED,
    },
    _S.FENCED: {
        _E.START: _S.CONNECTING,  # only with a generation above the fence's
        _E.FENCE: _S.FENCED,
    },
}

#: The states in which every VM write goes into the stream.
STREAMING = frozenset({ForwardState.RESYNCING, ForwardState.REPLICATING})


def advance(group: str, state: ForwardState, event: Event) -> ForwardState:
    """The state after `event`.

    Raises:
        Refused: the state does not allow it; says which states do.
    """
    reason = Reason.WRONG_STATE
    if event is Event.START:
        reason = Reason.ALREADY_REPLICATING
    elif state is ForwardState.FENCED:
        reason = Reason.FENCED
    return step(TRANSITIONS, group, state, event, reason)


def not_replicating(
    group: str, state: ForwardState, failure: BlkcoloError | None, epoch: int
) -> Refused:
    """The refusal of what needs it to be REPLICATING; says what to wait for or to do.

    Args:
        group: its name.
        state: the state that holds.
        failure: why the last stream was lost.
        epoch: the epoch that was asked for; 0: none.
    """
    if state is ForwardState.LOST and failure is not None:
        return Refused(
            failure.reason, f"group {group} lost its stream: {failure}", epoch=epoch
        )
    comparing = state is ForwardState.RESYNCING
    return Refused(
        Reason.RESYNCING if comparing else Reason.NOT_REPLICATING,
        f"group {group} is {state.name}: checkpoints and verifies need it to be"
        " REPLICATING; "
        + ("wait for the comparison" if comparing else "resume replication"),
        epoch=epoch,
    )
