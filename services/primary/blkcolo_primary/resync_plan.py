"""What a new stream must compare, or why there is none: one table over both sides.

The secondary's generation, against the primary's:

    its answer                        | plan
    ----------------------------------+--------
    refuses a stale generation        | REFUSE
    welcomes, in another generation   | REFUSE

and where the generations are equal:

    the intent log          | the secondary's copy          | plan
    ------------------------+-------------------------------+--------
    any                     | has no checkpoint             | FULL
    says nothing            | any                           | FULL
    is of another copy      | any                           | FULL
    is of this copy         | is older than the log's base  | FULL
    is of this copy, clean  | at the log's base, or newer   | RESUME
    is of this copy, marked | at the log's base, or newer   | DIRTY

A newer checkpoint than the log's base means that the primary missed the answer to a
commit: its marks are then more than needed, never less. With FULL and DIRTY alike,
regions that an earlier stream settled with this copy are left out (`settled`).
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from blkcolo.stream import Welcome
    from blkcolo_primary.intent_log import Base


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
    if base is None or welcome.committed is None:
        return ResyncPlan.FULL
    if base.replica_id != welcome.replica_id or welcome.committed < base.committed:
        return ResyncPlan.FULL
    return ResyncPlan.DIRTY if marked else ResyncPlan.RESUME
