"""What changed, as people are told: between two records, and between two looks.

Rules: a change is told once, in the order in which it was seen. What was told of the
sides is a `Look`; it is stored with its events, so that a successor neither repeats
one nor misses what changed while nobody looked. A side that does not answer is told
as that; what it had said before still holds, until it says something else.

A committed checkpoint is no event. A failed one is, once for each reason until
another one is committed: a disk that stays full is no news twenty times a second.
"""

from __future__ import annotations

import enum
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from blkcolo.errors import BlkcoloError, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from blkcolo_coordinator.core.group_record import GroupRecord
    from blkcolo_coordinator.core.policy import Policy
    from blkcolo_coordinator.core.seen import PrimarySeen, SecondarySeen


class Kind(enum.IntEnum):
    """The numbers are those of blkcolo.v1.EventKind."""

    CREATED = 1
    DELETED = 2
    STATE = 3
    GENERATION = 4
    ROLES = 5
    PAUSE = 6
    POLICY = 7
    ADDRESSES = 8
    #: Still not protected, for another reason.
    FAILURE = 9
    CHECKPOINT_FAILED = 10
    #: The primary answers, or does not.
    PRIMARY = 11
    #: The secondary answers, or does not.
    SECONDARY = 12
    FORWARD_STATE = 13
    REPLICA_STATE = 14
    RESYNC_BEGUN = 15
    RESYNC_ENDED = 16
    FLUSH_ENDED = 17
    VERIFY_DIFFERED = 18

    @property
    def word(self) -> str:
        """As people read it."""
        return self.name.lower().replace("_", " ")


class Moment(NamedTuple):
    """When and where something happened.

    Attributes:
        group: its name.
        at: seconds since 1970.
        epoch: the last committed checkpoint, or the one that failed.
        generation: the one in force.
    """

    group: str
    at: float
    epoch: int
    generation: int


@dataclass(frozen=True)
class GroupEvent:
    """One change.

    Attributes:
        moment: when and where.
        kind: what changed.
        message: the whole sentence.
        reason: why; UNSPECIFIED where that says nothing.
        before: what was, in a word or number.
        after: what is.
    """

    moment: Moment
    kind: Kind
    message: str
    reason: Reason = Reason.UNSPECIFIED
    before: str = ""
    after: str = ""


# Records.


def between_records(
    before: GroupRecord | None,
    after: GroupRecord | None,
    at: float,
    why: BlkcoloError | None = None,
) -> list[GroupEvent]:
    """What changed in a group's record.

    Args:
        before: None: the group is new.
        after: None: the group is deleted.
        at: seconds since 1970.
        why: what the change is owed to, where something failed.
    """
    record = after or before
    if record is None:
        return []
    moment = Moment(record.name, at, record.committed or 0, record.generation)
    if before is None:
        pair = f"{record.primary_now} -> {record.secondary_now}"
        return [GroupEvent(moment, Kind.CREATED, f"created: {pair}", after=pair)]
    if after is None:
        return [GroupEvent(moment, Kind.DELETED, "deleted")]
    return list(_changes(moment, before, after, why))


def _changes(
    moment: Moment, before: GroupRecord, after: GroupRecord, why: BlkcoloError | None
) -> Iterator[GroupEvent]:
    for kind, old, new in (
        (Kind.ADDRESSES, _addresses(before), _addresses(after)),
        (Kind.GENERATION, str(before.generation), str(after.generation)),
        (Kind.ROLES, before.primary_now, after.primary_now),
        (Kind.PAUSE, _pause(before), _pause(after)),
        (Kind.POLICY, *_policies(before.policy, after.policy)),
    ):
        if kind is Kind.ROLES and before.reversed is after.reversed:
            continue
        if old != new:
            text = _SENTENCES[kind].format(old=old, new=new)
            yield GroupEvent(moment, kind, text, before=old, after=new)
    if before.state is not after.state:
        yield state_changed(moment, before.state.name, after.state.name, why)


_SENTENCES = {
    Kind.ADDRESSES: "configured as {new}, was {old}",
    Kind.GENERATION: "generation {new} is in force, was {old}",
    Kind.ROLES: "the primary is {new}, was {old}",
    Kind.PAUSE: "automatic checkpoints are {new}",
    Kind.POLICY: "policy: {new}, was {old}",
}


def state_changed(
    moment: Moment, before: str, after: str, why: BlkcoloError | None
) -> GroupEvent:
    """The group is in another state."""
    old, new = before.lower(), after.lower()
    text = f"{_words(new)}, was {_words(old)}"
    reason = Reason.UNSPECIFIED
    if why is not None:
        text, reason = f"{text}: {why.message}", why.reason
    return GroupEvent(moment, Kind.STATE, text, reason, old, new)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _addresses(record: GroupRecord) -> str:
    return " and ".join(sorted((record.primary_address, record.secondary_address)))


def _pause(record: GroupRecord) -> str:
    return "paused" if record.paused else "resumed"


def _policies(before: Policy, after: Policy) -> tuple[str, str]:
    """What differs, in both."""
    if before == after:  # of every checkpoint: cheap
        return "", ""
    old, new = asdict(before), asdict(after)
    keys = [key for key in new if old[key] != new[key]]
    return (
        ", ".join(f"{key} {old[key]}" for key in keys),
        ", ".join(f"{key} {new[key]}" for key in keys),
    )


# Looks at both sides.


@dataclass(frozen=True)
class Look:
    """What was told of the sides; every value is plain, to be stored as JSON.

    Attributes:
        primary: "reachable", "unreachable", or "" before the first answer.
        secondary: likewise.
        forward: the primary's state when it last answered.
        replica: the secondary's.
        resync: a resync was told to have begun.
        flushing: a flush was seen.
        verify: the verify pass whose findings were told.
        differing: bytes of these.
        failure: why it was told that the group is not protected; 0: it is.
        failed: why it was told that a checkpoint failed; 0: one came after it.
    """

    primary: str = ""
    secondary: str = ""
    forward: str = ""
    replica: str = ""
    resync: bool = False
    flushing: bool = False
    verify: int = 0
    differing: int = 0
    failure: int = 0
    failed: int = 0


Told = tuple[Look, list[GroupEvent]]


def looked(
    told: Look,
    moment: Moment,
    primary: PrimarySeen | None,
    secondary: SecondarySeen | None,
    why: tuple[BlkcoloError | None, BlkcoloError | None],
) -> Told:
    """What both sides say now, and what of that is news.

    Args:
        told: what is no news.
        moment: when this is.
        primary: None: it does not answer.
        secondary: likewise.
        why: why not, for both.
    """
    found: list[GroupEvent] = []
    for side, kind, answer, error in (
        ("primary", Kind.PRIMARY, primary, why[0]),
        ("secondary", Kind.SECONDARY, secondary, why[1]),
    ):
        was, now = getattr(told, side), "reachable" if answer else "unreachable"
        if was == now:
            continue
        text = f"the {side} answers"
        reason = Reason.UNSPECIFIED
        if error is not None:
            text, reason = f"the {side} does not answer: {error.message}", error.reason
        found.append(GroupEvent(moment, kind, text, reason, was, now))
        told = replace(told, **{side: now})  # type: ignore[arg-type] # a str field
    if primary is not None:
        told, more = _primary(told, moment, primary)
        found += more
    if secondary is not None:
        told, more = _secondary(told, moment, secondary)
        found += more
    return told, found


def _if_news(told: Look, **now: str | int) -> Look:
    """What was told, with what is now; most looks bring nothing new: they cost less."""
    if all(getattr(told, name) == value for name, value in now.items()):
        return told
    return replace(told, **now)  # type: ignore[arg-type] # fields by name


def _other_state(
    moment: Moment,
    kind: Kind,
    side: str,
    before: str,
    seen: PrimarySeen | SecondarySeen,
) -> GroupEvent:
    text = f"the {side} is {_words(seen.state)}"
    if seen.failure_message:
        text += f": {seen.failure_message}"
    return GroupEvent(moment, kind, text, seen.failure, before, seen.state)


def _primary(told: Look, moment: Moment, seen: PrimarySeen) -> Told:
    found: list[GroupEvent] = []
    if seen.state != told.forward:
        found.append(
            _other_state(moment, Kind.FORWARD_STATE, "primary", told.forward, seen)
        )
        found += _resync(told, moment, seen)
    differs, told = _verify(told, moment, seen)
    resync = seen.state == "resyncing"
    told = _if_news(told, forward=seen.state, resync=resync)
    return told, found + differs


def _resync(told: Look, moment: Moment, seen: PrimarySeen) -> Iterator[GroupEvent]:
    """One that came and went between two looks is told by its end."""
    if seen.state == "resyncing":
        text = f"resync begun: {seen.plan}, {seen.resync_total} bytes to compare"
        yield GroupEvent(moment, Kind.RESYNC_BEGUN, text, after=seen.plan)
    elif seen.state == "replicating" and (told.resync or seen.resync_total):
        text = f"resync complete: {seen.plan}, {seen.resync_total} bytes compared"
        yield GroupEvent(moment, Kind.RESYNC_ENDED, text, before=seen.plan)
    elif told.resync:
        text = (
            f"resync interrupted: {seen.plan}, {seen.resync_done} of"
            f" {seen.resync_total} bytes were compared"
        )
        yield GroupEvent(
            moment, Kind.RESYNC_ENDED, text, seen.failure, before=seen.plan
        )


def _verify(
    told: Look, moment: Moment, seen: PrimarySeen
) -> tuple[list[GroupEvent], Look]:
    """The first finding of a pass, and all of them at its end."""
    known = told.differing if seen.verify_number == told.verify else 0
    found: list[GroupEvent] = []
    if seen.differing_bytes > known and (not known or seen.verify_ended):
        text = (
            f"verify {seen.verify_number}: {seen.differing_bytes} bytes differed, the"
            f" first on {seen.differing_at}; they were sent again"
        )
        known = seen.differing_bytes
        found.append(
            GroupEvent(moment, Kind.VERIFY_DIFFERED, text, Reason.CONTENTS_DIFFER)
        )
    return found, _if_news(told, verify=seen.verify_number, differing=known)


def _secondary(told: Look, moment: Moment, seen: SecondarySeen) -> Told:
    found: list[GroupEvent] = []
    if seen.state != told.replica:
        found.append(
            _other_state(moment, Kind.REPLICA_STATE, "secondary", told.replica, seen)
        )
    flushing = seen.state in ("failing_over", "rolling_back")
    # A failover has a flush, even one that came and went between two looks.
    passed = seen.state == "failed_over" and told.replica not in ("", seen.state)
    if not flushing and (told.flushing or passed):
        text = "the secondary's disk is flushed"
        if seen.flush_total:
            text += f", {seen.flush_total} bytes"
        found.append(GroupEvent(moment, Kind.FLUSH_ENDED, text))
    return _if_news(told, replica=seen.state, flushing=flushing), found


# Failures.


def failed_checkpoint(told: Look, moment: Moment, error: BlkcoloError) -> Told:
    """A checkpoint, `moment.epoch`, was not committed."""
    reason = int(error.reason)
    if told.failed == reason:
        return told, []
    text = f"checkpoint {moment.epoch} failed: {error.message}"
    event = GroupEvent(moment, Kind.CHECKPOINT_FAILED, text, error.reason)
    return replace(told, failed=reason), [event]


def not_protected(
    told: Look, moment: Moment, error: BlkcoloError, *, state_tells: bool
) -> Told:
    """The group is not protected, for this reason.

    Args:
        told: what is no news.
        moment: when this is.
        error: why.
        state_tells: the group's change of state says so already.
    """
    reason = int(error.reason)
    if told.failure == reason:
        return told, []
    told, before = replace(told, failure=reason), Reason(told.failure)
    if state_tells:
        return told, []
    old = "" if before is Reason.UNSPECIFIED else before.name.lower()
    text = f"still not protected: {error.message}"
    names = old, error.reason.name.lower()
    return told, [GroupEvent(moment, Kind.FAILURE, text, error.reason, *names)]


def committed(told: Look) -> Look:
    """A checkpoint was committed: the next failure is news."""
    return _if_news(told, failure=0, failed=0)
