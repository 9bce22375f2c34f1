"""The states of a group as the coordinator sees it, and every step between them.

Rules: whatever changes the state is an event of this table; an event that a state
does not list is refused and changes nothing.
"""

from __future__ import annotations

import enum

from blkcolo.errors import Reason
from blkcolo.transitions import step


class GroupState(enum.IntEnum):
    """The numbers are those of blkcolo.v1.GroupState."""

    #: Not replicating, by request.
    STOPPED = 1
    #: Connecting or comparing; no checkpoint of this run exists yet.
    STARTING = 2
    #: The last checkpoint of this run is committed.
    PROTECTED = 3
    #: Not replicating although it should be.
    UNPROTECTED = 4
    #: Failover was ordered and is not finished.
    FAILING_OVER = 5
    #: The secondary's disk is the VM's disk.
    FAILED_OVER = 6
    #: The survivor is becoming the primary of the old primary.
    REPROTECTING = 10
    #: The roles are being swapped.
    SWITCHING_OVER = 11


class Event(enum.Enum):
    """What can happen to it."""

    #: The primary connects, or compares.
    STARTED = "a start"
    #: A checkpoint is committed.
    COMMITTED = "a checkpoint"
    #: A side does not answer, or the stream is lost.
    LOST = "a loss"
    #: StopReplication.
    STOP = "a stop"
    #: ResumeReplication.
    RESUME = "a resume"
    #: Failover.
    FAIL_OVER = "a failover"
    #: The failover was refused before the secondary took part in it, or the
    #: switchover before the primary was fenced.
    ABORTED = "the end of a refused failover"
    #: The secondary's disk is the VM's disk.
    DONE = "the end of a failover"
    #: Reprotect.
    REPROTECT = "a reprotect"
    #: Switchover.
    SWITCH_OVER = "a switchover"
    #: Both sides are in their new roles.
    ROLES_CHANGED = "the change of roles"


_S, _E = GroupState, Event
#: Here no stream is wanted: the secondary's disk is the VM's, or is becoming so.
ENDED = frozenset({_S.FAILING_OVER, _S.FAILED_OVER, _S.REPROTECTING, _S.SWITCHING_OVER})
_ANYWHERE = {
    _E.STOP: _S.STOPPED,
    _E.FAIL_OVER: _S.FAILING_OVER,
    _E.LOST: _S.UNPROTECTED,
}

TRANSITIONS: dict[GroupState, dict[Event, GroupState]] = {
    _S.STOPPED: {
        _E.STOP: _S.STOPPED,
        _E.RESUME: _S.STARTING,
        _E.FAIL_OVER: _S.FAILING_OVER,
    },
    _S.STARTING: {
        **_ANYWHERE,
        _E.RESUME: _S.STARTING,
        _E.STARTED: _S.STARTING,
        _E.COMMITTED: _S.PROTECTED,
    },
    _S.PROTECTED: {
        **_ANYWHERE,
        _E.RESUME: _S.PROTECTED,
        _E.STARTED: _S.STARTING,
        _E.COMMITTED: _S.PROTECTED,
        _E.SWITCH_OVER: _S.SWITCHING_OVER,
    },
    _S.UNPROTECTED: {
        **_ANYWHERE,
        _E.RESUME: _S.STARTING,
        _E.STARTED: _S.STARTING,
        _E.COMMITTED: _S.PROTECTED,
    },
    _S.FAILING_OVER: {
        _E.ABORTED: _S.UNPROTECTED,
        _E.DONE: _S.FAILED_OVER,
    },
    _S.FAILED_OVER: {
        _E.REPROTECT: _S.REPROTECTING,
    },
    _S.REPROTECTING: {
        _E.ROLES_CHANGED: _S.STARTING,
    },
    _S.SWITCHING_OVER: {
        _E.ABORTED: _S.UNPROTECTED,
        _E.DONE: _S.REPROTECTING,
        _E.FAIL_OVER: _S.FAILING_OVER,
    },
}


def advance(group: str, state: GroupState, event: Event) -> GroupState:
    """The state after `event`.

    Raises:
        Refused: the state does not allow it; says which states do.
    """
    reason = Reason.WRONG_STATE
    if state in ENDED:
        reason = Reason.FAILED_OVER
    return step(TRANSITIONS, group, state, event, reason)
