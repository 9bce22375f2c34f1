"""The states of a group on the secondary, and every step between them.

Rules: whatever changes the state is an event of this table; an event that a state
does not list is refused and changes nothing.
"""

from __future__ import annotations

import enum

from blkcolo.errors import Reason
from blkcolo.transitions import step


class ReplicaState(enum.IntEnum):
    """What the secondary does; the numbers are those of blkcolo.v1.ReplicaState."""

    #: No stream; the view stands at the last committed checkpoint.
    DISCONNECTED = 1
    #: A stream is attached.
    RECEIVING = 2
    #: The stream's data cannot be trusted any more; a new stream is needed.
    FAULTED = 3
    #: Replication was stopped by a call.
    STOPPED = 4
    #: The Disk Buffer is being flushed into the disk.
    FAILING_OVER = 5
    #: An ordinary writable disk.
    FAILED_OVER = 6
    #: The disk is being taken back to the committed checkpoint.
    ROLLING_BACK = 7


class Event(enum.Enum):
    """What can happen to it."""

    #: The primary opened a stream.
    HELLO = "a new stream"
    #: The stream ended.
    STREAM_END = "the end of the stream"
    #: A write was lost, damaged, or could not be applied.
    FAULT = "a fault"
    #: StopReplication, back to the checkpoint.
    ROLL_BACK = "stop with rollback"
    #: StopReplication, keeping the latest write.
    KEEP_LATEST = "stop at the latest write"
    #: StopReplication, failover.
    FAIL_OVER = "failover"
    #: A change of roles: the disk is to become a copy of the new primary's.
    DEMOTE = "a demotion"
    #: The disk holds what it should.
    FLUSHED = "the end of the flush"


_S, _E = ReplicaState, Event

#: The VM writes here: it was failed over.
TRACKS = frozenset({_S.FAILING_OVER, _S.FAILED_OVER})
#: The disk is being brought to what a stop asked for.
FLUSHES = frozenset({_S.FAILING_OVER, _S.ROLLING_BACK})

TRANSITIONS: dict[ReplicaState, dict[Event, ReplicaState]] = {
    _S.DISCONNECTED: {
        _E.HELLO: _S.RECEIVING,
        _E.ROLL_BACK: _S.ROLLING_BACK,
        _E.KEEP_LATEST: _S.STOPPED,
        _E.FAIL_OVER: _S.FAILING_OVER,
        _E.DEMOTE: _S.DISCONNECTED,
    },
    _S.RECEIVING: {
        _E.HELLO: _S.RECEIVING,
        _E.STREAM_END: _S.DISCONNECTED,
        _E.FAULT: _S.FAULTED,
        _E.ROLL_BACK: _S.ROLLING_BACK,
        _E.KEEP_LATEST: _S.STOPPED,
        _E.FAIL_OVER: _S.FAILING_OVER,
    },
    _S.FAULTED: {
        _E.HELLO: _S.RECEIVING,
        _E.STREAM_END: _S.FAULTED,
        _E.FAULT: _S.FAULTED,
        _E.ROLL_BACK: _S.ROLLING_BACK,
        _E.KEEP_LATEST: _S.STOPPED,
        _E.FAIL_OVER: _S.FAILING_OVER,
    },
    _S.STOPPED: {
        _E.HELLO: _S.RECEIVING,
        _E.FAIL_OVER: _S.FAILING_OVER,
        _E.DEMOTE: _S.DISCONNECTED,
    },
    _S.ROLLING_BACK: {
        _E.FLUSHED: _S.STOPPED,
    },
    _S.FAILING_OVER: {
        _E.FLUSHED: _S.FAILED_OVER,
    },
    _S.FAILED_OVER: {
        _E.DEMOTE: _S.DISCONNECTED,
    },
}


def advance(group: str, state: ReplicaState, event: Event) -> ReplicaState:
    """The state after `event`.

    Raises:
        Refused: the state does not allow it; says which states do.
    """
    reason = Reason.WRONG_STATE
    if state in TRACKS:
        reason = Reason.FAILED_OVER
    return step(TRANSITIONS, group, state, event, reason)
