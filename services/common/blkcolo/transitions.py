"""One step of a state machine that is a table: what every one of them refuses alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from blkcolo.errors import Reason, Refused

if TYPE_CHECKING:
    import enum
    from collections.abc import Mapping

_State = TypeVar("_State", bound="enum.Enum")
_Event = TypeVar("_Event", bound="enum.Enum")


def step(
    table: Mapping[_State, Mapping[_Event, _State]],
    group: str,
    state: _State,
    event: _Event,
    reason: Reason = Reason.WRONG_STATE,
) -> _State:
    """The state after `event`.

    Args:
        table: by state, what each event that it allows leads to.
        group: its name, for errors.
        state: the state that holds.
        event: what happened; its value says so in words.
        reason: why it is refused, if it is.

    Raises:
        Refused: the state does not allow it; says which states do.
    """
    following = table[state].get(event)
    if following is None:
        allowed = [s.name for s, events in table.items() if event in events]
        raise Refused(
            reason,
            f"group {group} is {state.name}: {event.value} needs it to be"
            f" {' or '.join(allowed)}",
        )
    return following
