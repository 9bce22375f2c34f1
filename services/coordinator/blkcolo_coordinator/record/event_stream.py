"""Events in order, from any number on, as long as somebody listens."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from blkcolo.errors import Invalid, Reason

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from blkcolo_coordinator.record.event_table import EventTable, Numbered

#: Events in one part.
_PART = 256


class Part(NamedTuple):
    """Some events, and how many before them are not kept any more."""

    dropped: int
    events: list[Numbered]


async def follow(
    table: EventTable, after: int, group: str, *, go_on: bool
) -> AsyncIterator[Part]:
    """Yields all that is kept behind a number; nothing waits in memory.

    Args:
        table: what happened.
        after: the last known number; 0: none is.
        group: empty: all of them.
        go_on: wait for more at the end.

    Raises:
        Invalid: the number was never given here.
    """
    _, newest = table.bounds()
    if after > newest:
        raise Invalid(
            Reason.INVALID,
            f"event {after} is not known here, the last one is {newest}: this is"
            " another coordinator, or its store is new; begin with 0",
        )
    while True:
        oldest, newest = table.bounds()
        dropped = max(oldest - 1 - after, 0)
        found = table.after(after, group, _PART)
        if found or dropped:
            yield Part(dropped, found)
        if len(found) == _PART:
            after = found[-1].seq
            continue
        after = max(newest, after)
        if not go_on:
            return
        # No await between the look and this: no event is missed.
        if table.bounds()[1] == after:
            await table.changed.wait()
