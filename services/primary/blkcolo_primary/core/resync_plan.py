"""What a new stream must compare, or why there is none: one table over both sides.

The secondary's generation, against the primary's:

    its answer                        | plan
    ----------------------------------+--------
    refuses a stale generation        | REFUSE
    welcomes, in another generation   | REFUSE

and where the generations are equal:

    the intent log          | the secondary's copy                    | plan
    ------------------------+-----------------------------------------+--------
    says nothing            | any                                     | FULL
    any                     | has no checkpoint, and was no primary   | FULL
    is of some copy         | was a primary ahead of that same copy   | UNION
    is of some copy         | was a primary ahead of another copy     | FULL
    is of another copy      | has a checkpoint                        | FULL
    is of this copy         | is older than the log's base            | FULL
    is of this copy, clean  | at the log's base, or newer             | RESUME
    is of this copy, marked | at the log's base, or newer             | DIRTY

A newer checkpoint than the log's base means that the primary missed the answer to a
commit: its marks are then more than needed, never less. With all of them alike,
regions that an earlier stream settled with this copy are left out (`settled`).

UNION, after a change of roles: the copy was the old primary's disk. Each side knows
where it left a checkpoint of one and the same copy: this one by what it wrote and
undid since its failover, the other one by its own intent log. So they differ in the
union of both at most.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from blkcolo.errors import StaleGeneration
from blkcolo.intent.settled_regions import Copy

if TYPE_CHECKING:
    from blkcolo.extents import Extent
    from blkcolo.intent.file import Base
    from blkcolo.intent.log import IntentLog
    from blkcolo.stream import Welcome


class ResyncPlan(enum.IntEnum):
    """What is compared; the numbers are those of blkcolo.v1.ResyncPlan."""

    #: Nothing: nothing was written since the last commit.
    RESUME = 1
    #: The marked regions.
    DIRTY = 2
    #: Everything.
    FULL = 3
    #: No stream: somebody else is in charge. A primary that is refused as stale fences
    #: itself.
    REFUSE = 4
    #: The marked regions of both sides.
    UNION = 10


def plan(
    generation: int, base: Base | None, welcome: Welcome, *, marked: bool
) -> ResyncPlan:
    """Chooses the plan.

    Args:
        generation: the primary's.
        base: what the intent log is relative to; None if it says nothing.
        welcome: the secondary's answer.
        marked: the intent log has marked regions.
    """
    if welcome.generation != generation:
        return ResyncPlan.REFUSE
    if base is None:
        return ResyncPlan.FULL
    if welcome.committed is None:
        ahead = welcome.ahead
        same = ahead is not None and ahead.replica_id == base.replica_id
        return ResyncPlan.UNION if same else ResyncPlan.FULL
    if base.replica_id != welcome.replica_id or welcome.committed < base.committed:
        return ResyncPlan.FULL
    return ResyncPlan.DIRTY if marked else ResyncPlan.RESUME


def take_in(
    group: str, intent: IntentLog, generation: int, welcome: Welcome
) -> ResyncPlan:
    """Tells the intent log where the secondary stands, and chooses the plan.

    Raises:
        StaleGeneration: another generation is in force there.
        OSError: the intent log could not be written.
    """
    base = intent.base
    if plan(generation, base, welcome, marked=True) is ResyncPlan.REFUSE:
        raise StaleGeneration.of(group, generation, welcome.generation)
    copy = Copy(welcome.replica_id, welcome.incarnation)
    intent.welcomed(copy, welcome.committed)
    marked = any(intent.wanted(everything=False))
    return plan(generation, base, welcome, marked=marked)


def wanted(
    chosen: ResyncPlan, intent: IntentLog, welcome: Welcome
) -> list[list[Extent]]:
    """The extents of each volume that the plan compares."""
    theirs = welcome.ahead.extents if welcome.ahead is not None else ()
    return intent.wanted(
        everything=chosen is ResyncPlan.FULL,
        ahead=theirs if chosen is ResyncPlan.UNION else (),
    )
