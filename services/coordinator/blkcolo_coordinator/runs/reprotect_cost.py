"""What a reprotect costs, by what is stored of the failover before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blkcolo_coordinator.core.group_state import GroupState
from blkcolo_coordinator.runs.roles import Cost, Side, cost

if TYPE_CHECKING:
    from blkcolo_coordinator.core.group_record import GroupRecord
    from blkcolo_coordinator.runs.roles import NodeView


def nothing_lost(record: GroupRecord) -> bool:
    """True where a switchover's fence proves it.

    A failover that was ordered behind that fence may lead to an older checkpoint.
    """
    return record.fenced_clean and record.state is not GroupState.FAILING_OVER


def reprotect_cost(
    record: GroupRecord,
    old_primary: NodeView,
    survivor: NodeView,
    loser: Side,
    now: float,
) -> Cost:
    """What is given up and compared; see `roles.cost`.

    Args:
        record: of the group.
        old_primary: what the old primary says.
        survivor: what the side says that was failed over to.
        loser: the side that is given up.
        now: seconds since 1970.
    """
    price = cost(
        old_primary,
        survivor,
        loser,
        committed_at=record.committed_at,
        failed_over_at=record.failed_over_at,
        now=now,
        chosen=record.failover_to is not None,
    )
    if nothing_lost(record) and loser is Side.PRIMARY:
        return Cost(None, "", 0.0, 0, price.compared_bytes)
    return price
