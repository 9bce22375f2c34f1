"""What `explain` rests on, taken from a group at run time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from blkcolo.errors import Reason
from blkcolo_coordinator.core.explain import Verb, explain
from blkcolo_coordinator.core.facts import Facts
from blkcolo_coordinator.peers import node_views
from blkcolo_coordinator.peers.seen_on_wire import primary_seen, secondary_seen
from blkcolo_coordinator.runs.reprotect_cost import nothing_lost, reprotect_cost
from blkcolo_coordinator.runs.roles import Side

if TYPE_CHECKING:
    from blkcolo.errors import BlkcoloError
    from blkcolo_coordinator.core.explain import Condition
    from blkcolo_coordinator.core.group_record import GroupRecord
    from blkcolo_coordinator.runtime.driven_group import Sides
    from blkcolo_coordinator.runtime.group_driver import GroupDriver

    Errors = tuple[BlkcoloError | None, BlkcoloError | None]


def explained(driver: GroupDriver) -> dict[Verb, list[Condition]]:
    """All conditions of all verbs, as the last look saw them."""
    found = facts(driver.record, driver.sides, driver.unanswered, driver.failure)
    return {verb: explain(verb, found) for verb in Verb}


def facts(
    record: GroupRecord,
    sides: Sides,
    unanswered: Errors,
    failure: BlkcoloError | None,
) -> Facts:
    """Takes them from the record and from what both sides last said."""
    lost_bytes, lost_seconds = _loss(record, sides)
    primary, secondary = map(_text, unanswered)
    return Facts(
        record.name,
        record.state,
        record.reversed,
        record.primary_now,
        record.secondary_now,
        primary_seen(sides.primary),
        secondary_seen(sides.secondary),
        primary,
        secondary,
        failure.reason if failure is not None else Reason.UNSPECIFIED,
        _text(failure),
        lost_bytes,
        lost_seconds,
        record.fenced_clean,
    )


def _text(error: BlkcoloError | None) -> str:
    return str(error) if error is not None else ""


def _loss(record: GroupRecord, sides: Sides) -> tuple[int | None, float]:
    """What a reprotect would give up of the old primary: bytes, seconds."""
    if sides.primary is None or sides.secondary is None:
        return (0 if nothing_lost(record) else None), 0.0
    price = reprotect_cost(
        record,
        node_views.of_primary(record.primary_now, sides.primary),
        node_views.of_secondary(record.secondary_now, sides.secondary),
        Side.PRIMARY,
        time.time(),
    )
    return price.lost_bytes, price.seconds
