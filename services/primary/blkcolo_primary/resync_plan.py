"""What a new stream must compare: one table over what both sides know.

    the intent log          | the secondary's copy          | plan
    ------------------------+-------------------------------+--------
    any                     | has no checkpoint             | FULL
    says nothing            | any                           | FULL
    is of another copy      | any                           | FULL
    is of this copy         | is older than the log's base  | FULL
    is of this copy, clean  | at the log's base, or newer   | RESUME
    is of this copy, marked | at the log's base, or newer   | DIRTY

A stale generation never comes here: the secondary refuses its hello. A newer
checkpoint than the log's base means that the primary missed the answer to a commit:
its marks are then more than needed, never less.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from blkcolo.stream import Welcome
    from blkcolo_primary.intent_log import Base


class ResyncPlan(enum.IntEnum):
    """What is compared; the numbers are those of blkcolo.v1.ResyncPlan."""

    #: Nothing was written since the last commit.
    RESUME = 1
    #: The marked regions.
    DIRTY = 2
    #: Everything.
    FULL = 3


def plan(base: Base | None, welcome: Welcome, *, marked: bool) -> ResyncPlan:
    """Chooses the plan.

    Args:
        base: what the intent log is relative to; None if it says nothing.
        welcome: the secondary's answer.
        marked: the intent log has marked regions.
    """
    if base is None or welcome.committed is None:
        return ResyncPlan.FULL
    if base.replica_id != welcome.replica_id or welcome.committed < base.committed:
        return ResyncPlan.FULL
    return ResyncPlan.DIRTY if marked else ResyncPlan.RESUME
