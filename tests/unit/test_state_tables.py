"""Every state machine: each legal step, and each illegal one that changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from blkcolo.errors import BlkcoloError, Reason, Refused
from blkcolo.stream import RecordKind
from blkcolo.v1 import stream_pb2, types_pb2
from blkcolo_coordinator.core import group_state
from blkcolo_primary.core import forward_state
from blkcolo_secondary.core import replica_state

if TYPE_CHECKING:
    import enum
    from types import ModuleType

TABLES = [
    (forward_state, forward_state.ForwardState),
    (replica_state, replica_state.ReplicaState),
    (group_state, group_state.GroupState),
]


@pytest.mark.parametrize(("module", "states"), TABLES)
def test_every_pair_of_state_and_event_steps_or_is_refused_with_what_is_needed(
    module: ModuleType, states: type[enum.Enum]
) -> None:
    assert set(module.TRANSITIONS) == set(states)
    for state in states:
        for event in module.Event:
            following = module.TRANSITIONS[state].get(event)
            if following is not None:
                assert module.advance("vm", state, event) is following
                continue
            with pytest.raises(Refused) as refusal:
                module.advance("vm", state, event)
            assert state.name in str(refusal.value)
            assert event.value in str(refusal.value)


@pytest.mark.parametrize(("module", "states"), TABLES)
def test_every_event_has_a_state_and_every_state_is_reached(
    module: ModuleType, states: type[enum.Enum]
) -> None:
    used = {event for events in module.TRANSITIONS.values() for event in events}
    assert used == set(module.Event)
    reached = {s for events in module.TRANSITIONS.values() for s in events.values()}
    assert reached == set(states)


@pytest.mark.parametrize(
    ("ours", "wire", "prefix"),
    [
        (Reason, types_pb2.Reason, "REASON_"),
        (RecordKind, stream_pb2.RecordKind, "RECORD_KIND_"),
        (forward_state.ForwardState, types_pb2.ForwardState, "FORWARD_STATE_"),
        (replica_state.ReplicaState, types_pb2.ReplicaState, "REPLICA_STATE_"),
        (group_state.GroupState, types_pb2.GroupState, "GROUP_STATE_"),
    ],
)
def test_enums_are_those_of_the_wire(
    ours: type[enum.IntEnum], wire: object, prefix: str
) -> None:
    names = {name.removeprefix(prefix): number for name, number in wire.items()}  # type: ignore[attr-defined] # every protobuf enum has items()
    names.pop("UNSPECIFIED")
    mine = {e.name: int(e) for e in ours if e.name != "UNSPECIFIED"}
    assert mine == names


def test_failed_over_states_say_so() -> None:
    with pytest.raises(BlkcoloError) as refusal:
        replica_state.advance(
            "vm", replica_state.ReplicaState.FAILED_OVER, replica_state.Event.HELLO
        )
    assert refusal.value.reason is Reason.FAILED_OVER
