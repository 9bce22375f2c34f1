"""What each verb needs: true or false, what is seen, and the command that mends it.

Rules: each verb always has the same conditions, in the order in which an operator
mends them, so that a series of each can exist from the start. What nobody can see is
false, and says so. Where the coordinator would refuse a verb because of what is seen
here, at least one of its conditions is false. A condition that is false because nothing
is wrong, as those of a reprotect while nothing has failed, has no command.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple

from blkcolo.errors import Reason
from blkcolo_coordinator.core.group_state import ENDED, TRANSITIONS, Event, GroupState
from blkcolo_coordinator.core.seen import FAILED_OVER

if TYPE_CHECKING:
    from collections.abc import Callable

    from blkcolo_coordinator.core.facts import Facts
    from blkcolo_coordinator.core.seen import SecondarySeen


class Verb(enum.StrEnum):
    """What people want of a group; also the metric's label."""

    PROTECT = "protect"
    CHECKPOINT = "checkpoint"
    FAILOVER = "failover"
    REPROTECT = "reprotect"
    SWITCHOVER = "switchover"
    FAILBACK = "failback"


class Seen(NamedTuple):
    """One look at a condition."""

    holds: bool
    sentence: str
    command: str = ""


class Condition(NamedTuple):
    """One precondition of a verb.

    Attributes:
        name: its name; also the metric's label.
        holds: it is met.
        sentence: what is seen.
        command: what mends it; empty where it is met, or where nothing is wrong.
    """

    name: str
    holds: bool
    sentence: str
    command: str


def explain(verb: Verb, facts: Facts) -> list[Condition]:
    """All preconditions of a verb."""
    found = []
    for name, look in CONDITIONS[verb].items():
        seen = look(facts)
        command = f"blkcolo {seen.command}" if seen.command else ""
        found.append(Condition(name, seen.holds, seen.sentence, command))
    return found


# The state.


def _replication_wanted(f: Facts) -> Seen:
    if f.state is GroupState.STOPPED:
        return Seen(False, "replication was stopped by request", f"resume {f.group}")
    return Seen(True, "replication is wanted")


def _no_role_change(f: Facts) -> Seen:
    match f.state:
        case GroupState.FAILED_OVER:
            text = f"the VM's disk is on {f.secondary_address}, and nothing protects it"
            return Seen(False, text, f"reprotect {f.group}")
        case GroupState.FAILING_OVER:
            text = "a failover was ordered and is not finished"
            if f.failure_message:
                text = f"{text}: {f.failure_message}"
            return Seen(False, text, f"failover {f.group}")
        case GroupState.REPROTECTING | GroupState.SWITCHING_OVER:
            text = "the roles are being changed; that goes on by itself"
            return Seen(False, text, f"status {f.group} --watch")
        case _:
            return Seen(True, "no change of roles is under way")


def _may_fail_over(f: Facts) -> Seen:
    again = f.state in (GroupState.FAILING_OVER, GroupState.FAILED_OVER)
    if again or Event.FAIL_OVER in TRANSITIONS[f.state]:
        return Seen(True, f"the group is {_word(f)}")
    text = f"the group is {_word(f)}; that goes on by itself"
    return Seen(False, text, f"status {f.group} --watch")


def _is_failed_over(f: Facts) -> Seen:
    if f.state is GroupState.FAILED_OVER:
        return Seen(True, "the group is failed over")
    if f.state in ENDED:
        text = f"the group is {_word(f)}; that goes on by itself"
        return Seen(False, text, f"status {f.group} --watch")
    text = f"the group is {_word(f)}: there is nothing to reprotect before a failover"
    return Seen(False, text)


def _is_protected(f: Facts) -> Seen:
    if f.state is GroupState.PROTECTED:
        return Seen(True, "the group is protected")
    command = {
        GroupState.STOPPED: f"resume {f.group}",
        GroupState.FAILED_OVER: f"reprotect {f.group}",
    }.get(f.state, f"explain {f.group}")
    text = f"the group is {_word(f)}: nothing may be lost, so it must be protected"
    return Seen(False, text, command)


def _away_from_home(f: Facts) -> Seen:
    if f.reversed or f.state is GroupState.FAILED_OVER:
        return Seen(True, "the VM's disk is not where the configuration puts it")
    text = f"{f.primary_address} is the primary, as configured: there is no way back"
    return Seen(False, text)


def _word(f: Facts) -> str:
    return f.state.name.lower().replace("_", " ")


# Both sides.


def _primary_answers(f: Facts) -> Seen:
    if f.primary is not None:
        return Seen(True, f"the primary {f.primary_address} answers")
    service = "secondary" if f.reversed else "primary"
    return _silent("primary", f.primary_address, f.primary_error, service)


def _secondary_answers(f: Facts) -> Seen:
    if f.secondary is not None:
        return Seen(True, f"the secondary {f.secondary_address} answers")
    service = "primary" if f.reversed else "secondary"
    return _silent("secondary", f.secondary_address, f.secondary_error, service)


def _silent(side: str, address: str, error: str, service: str) -> Seen:
    text = f"the {side} {address} does not answer"
    return Seen(
        False, f"{text}: {error}" if error else text, f"{service} --config FILE"
    )


def _primary_can_be_fenced(f: Facts) -> Seen:
    if f.primary is not None:
        return Seen(True, f"the primary {f.primary_address} answers, it can be fenced")
    if f.fenced_before:
        return Seen(True, "the switchover under way has fenced the primary")
    ordered = f.secondary is not None and f.secondary.state in FAILED_OVER
    if f.state is GroupState.FAILED_OVER or ordered:
        return Seen(True, "the failover is ordered; the primary is fenced when it can")
    text = f"the primary {f.primary_address} does not answer; make sure that it is dead"
    return Seen(False, text, f"failover {f.group} --force")


def _checkpoint_held(f: Facts) -> Seen:
    if f.secondary is None:
        service = "primary" if f.reversed else "secondary"
        return Seen(
            False, "nobody knows what the secondary holds", f"{service} --config FILE"
        )
    if f.secondary.committed is None:
        return _no_checkpoint_held(f, f.secondary)
    return Seen(True, f"the secondary holds checkpoint {f.secondary.committed}")


def _no_checkpoint_held(f: Facts, secondary: SecondarySeen) -> Seen:
    before = "what it held before it was to be a copy"
    if secondary.state in FAILED_OVER:
        return Seen(True, f"the secondary was failed over to {before}")
    if secondary.discarded and secondary.state == "stopped":
        return Seen(True, f"the secondary holds {before}")
    if secondary.discarded and f.primary is None:
        text = f"the secondary holds no checkpoint; a stop brings back {before}"
        return Seen(False, text, f"stop {f.group}")
    text = "the secondary holds no checkpoint to fail over to"
    return Seen(False, text, f"checkpoint {f.group}")


def _secondary_waits(f: Facts) -> Seen:
    if f.secondary is None or f.state in ENDED or f.secondary.state not in FAILED_OVER:
        return Seen(True, "nobody else has failed the secondary over")
    text = "the secondary was failed over by somebody else"
    return Seen(False, text, f"failover {f.group}")


def _survivor_flushed(f: Facts) -> Seen:
    watch = f"status {f.group} --watch"
    if f.secondary is None:
        return Seen(False, "nobody knows whether the survivor's disk is flushed", watch)
    if f.secondary.state == "failing_over":
        text = f"{f.secondary.flush_remaining} bytes are still to be flushed"
        if f.secondary.failure_message:
            text = f"{text}: {f.secondary.failure_message}"
            return Seen(False, text, f"failover {f.group}")
        return Seen(False, text, watch)
    if f.secondary.state not in FAILED_OVER:
        text = "the secondary was not failed over"
        again = f"failover {f.group}" if f.state in ENDED else ""
        return Seen(False, text, again)
    return Seen(True, "the survivor's disk is flushed")


def _nothing_given_up(f: Facts) -> Seen:
    if f.state not in ENDED:
        return Seen(True, "nothing was given up: there was no failover")
    if f.lost_bytes == 0:
        return Seen(True, "the old primary has no write that the survivor lacks")
    text = "nobody knows what the old primary wrote last"
    if f.lost_bytes is not None:
        text = (
            f"up to {f.lost_bytes} bytes of the old primary, written in up to"
            f" {f.lost_seconds:.1f} s, are in no checkpoint"
        )
    return Seen(False, text, f"reprotect {f.group} --discard primary")


# The stream.


def _streams_again(f: Facts, otherwise: str) -> str:
    """The command that leads to a stream; where one may be, another one."""
    match f.state:
        case GroupState.STOPPED:
            return f"resume {f.group}"
        case GroupState.FAILED_OVER:
            return f"reprotect {f.group}"
        case GroupState.FAILING_OVER:
            return f"failover {f.group}"
        case _ if f.state in ENDED:
            return f"status {f.group} --watch"
        case _:
            return otherwise


_BEGINS = ("connecting", "resyncing", "replicating")


def _fits(
    reasons: frozenset[Reason], well: str, command: str
) -> Callable[[Facts], Seen]:
    """Holds unless the group is unprotected for one of these reasons.

    In another state a failure is what was, before the present attempt.
    """

    def look(f: Facts) -> Seen:
        if f.state is not GroupState.UNPROTECTED or f.failure not in reasons:
            return Seen(True, well)
        return Seen(False, f.failure_message, command.format(group=f.group))

    return look


def _stream_stands(f: Facts) -> Seen:
    if f.primary is None:
        text = "nobody knows whether a stream stands: the primary does not answer"
        return Seen(False, text, f"status {f.group} --watch")
    if f.primary.state in _BEGINS:
        return Seen(True, f"the primary is {f.primary.state}")
    text = f"the primary is {f.primary.state}"
    why = f.primary.failure_message or f.failure_message
    again = _streams_again(f, f"resume {f.group}")
    return Seen(False, f"{text}: {why}" if why else text, again)


def _contents_compared(f: Facts) -> Seen:
    watch = f"status {f.group} --watch"
    if f.primary is None or f.primary.state not in _BEGINS:
        text = "there is no stream in which to compare both disks"
        return Seen(False, text, _streams_again(f, watch))
    if f.primary.state == "replicating":
        return Seen(True, "both disks are compared")
    text = f"{f.primary.resync_done} of {f.primary.resync_total} bytes are compared" + (
        f", {f.primary.eta:.0f} s left" if f.primary.eta is not None else ""
    )
    return Seen(False, text, watch)


def _checkpoint_committed(f: Facts) -> Seen:
    if f.state is GroupState.PROTECTED:
        return Seen(True, "a checkpoint of this stream is committed")
    failed = f.state is GroupState.UNPROTECTED and f.failure_message
    why = f": {f.failure_message}" if failed else " yet"
    text = f"no checkpoint of this stream is committed{why}"
    return Seen(False, text, _streams_again(f, f"checkpoint {f.group}"))


_Look = dict[str, "Callable[[Facts], Seen]"]

_ANSWERS: _Look = {
    "primary_answers": _primary_answers,
    "secondary_answers": _secondary_answers,
}
_STREAM: _Look = {
    "stream_stands": _stream_stands,
    "contents_compared": _contents_compared,
}
_TRIES_AGAIN = "resume {group}"

CONDITIONS: dict[Verb, _Look] = {
    Verb.PROTECT: {
        "replication_wanted": _replication_wanted,
        "no_role_change": _no_role_change,
        **_ANSWERS,
        "secondary_waits": _secondary_waits,
        "contents_known": _fits(
            frozenset({Reason.CONTENTS_DIFFER}),
            "the secondary's contents are those of this group",
            "resume {group} --discard secondary",
        ),
        "configurations_match": _fits(
            frozenset(
                {Reason.VOLUME_MISMATCH, Reason.WRONG_GROUP, Reason.PROTOCOL_VERSION}
            ),
            "both sides name the same volumes and speak the same version",
            _TRIES_AGAIN,
        ),
        "disks_well": _fits(
            frozenset({Reason.DISK_ERROR, Reason.DISK_FULL, Reason.BUFFER_FULL}),
            "no disk has failed or is full",
            _TRIES_AGAIN,
        ),
        "headway": _fits(
            frozenset({Reason.NO_HEADWAY, Reason.CONGESTION}),
            "the link keeps up with the VM",
            _TRIES_AGAIN,
        ),
        **_STREAM,
        "checkpoint_committed": _checkpoint_committed,
    },
    Verb.CHECKPOINT: {
        "replication_wanted": _replication_wanted,
        "no_role_change": _no_role_change,
        **_ANSWERS,
        **_STREAM,
    },
    Verb.FAILOVER: {
        "may_fail_over": _may_fail_over,
        "secondary_answers": _secondary_answers,
        "checkpoint_held": _checkpoint_held,
        "primary_can_be_fenced": _primary_can_be_fenced,
    },
    Verb.REPROTECT: {
        "is_failed_over": _is_failed_over,
        **_ANSWERS,
        "survivor_flushed": _survivor_flushed,
        "nothing_given_up": _nothing_given_up,
    },
    Verb.SWITCHOVER: {"is_protected": _is_protected, **_ANSWERS, **_STREAM},
    Verb.FAILBACK: {
        "away_from_home": _away_from_home,
        "is_protected": _is_protected,
        **_ANSWERS,
        **_STREAM,
    },
}
