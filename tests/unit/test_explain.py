"""Whatever the coordinator would refuse, `explain` names a reason for."""

from __future__ import annotations

import functools
import shlex
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blkcolo.errors import BlkcoloError, DataLoss, Reason, Refused, Unavailable
from blkcolo.rpc.errors import failure_message
from blkcolo.v1.primary_pb2 import ForwardStatus
from blkcolo.v1.secondary_pb2 import ReplicaStatus
from blkcolo.v1.types_pb2 import ForwardState, ReplicaState, Volume
from blkcolo_cli.main import app
from blkcolo_coordinator.core.explain import CONDITIONS, Verb, explain
from blkcolo_coordinator.core.group_record import GroupRecord
from blkcolo_coordinator.core.group_state import ENDED, Event, GroupState, advance
from blkcolo_coordinator.core.seen import FAILED_OVER
from blkcolo_coordinator.peers import node_views
from blkcolo_coordinator.runs.failover_run import FailoverRun, Step
from blkcolo_coordinator.runs.reprotect_cost import reprotect_cost
from blkcolo_coordinator.runs.reprotect_run import ReprotectRun
from blkcolo_coordinator.runs.roles import Side
from blkcolo_coordinator.runtime.checkpointer import Checkpointer
from blkcolo_coordinator.runtime.driven_group import Sides
from blkcolo_coordinator.runtime.group_facts import facts
from blkcolo_coordinator.runtime.role_changes import RoleChanges

if TYPE_CHECKING:
    from blkcolo_coordinator.core.facts import Facts

GONE = Unavailable(Reason.PEER_UNREACHABLE, "cannot be reached")
DISK = [Volume(name="disk0", size_bytes=1 << 20)]

records = st.builds(
    GroupRecord,
    st.just("vm1"),
    st.just("a:1"),
    st.just("b:2"),
    state=st.sampled_from(GroupState),
    committed=st.just(3),
    committed_at=st.just(50.0),
    reversed=st.booleans(),
    fenced_clean=st.booleans(),
    failed_over_at=st.just(60.0),
)
primaries = st.none() | st.builds(
    ForwardStatus,
    state=st.sampled_from(ForwardState.values()[1:]),
    generation=st.just(1),
    dirty_bytes=st.none() | st.sampled_from([0, 65536]),
    last_write_timestamp_seconds=st.sampled_from([0.0, 40.0, 55.0]),
    volumes=st.just(DISK),
)
secondaries = st.none() | st.builds(
    ReplicaStatus,
    state=st.sampled_from(ReplicaState.values()[1:]),
    generation=st.just(1),
    committed_epoch=st.none() | st.just(3),
    flush_remaining_bytes=st.sampled_from([0, 4096]),
    dirty_bytes=st.none() | st.just(0),
    volumes=st.just(DISK),
)
sides_seen = st.builds(Sides, primaries, secondaries)
failures = st.none() | st.builds(
    DataLoss, st.sampled_from(Reason), st.just("a failure")
)


def seen(record: GroupRecord, sides: Sides, failure: BlkcoloError | None) -> Facts:
    primary = None if sides.primary else GONE
    secondary = None if sides.secondary else GONE
    return facts(record, sides, (primary, secondary), failure)


def group_of(record: GroupRecord) -> Any:
    """What the cores ask of a group before they do anything."""
    return SimpleNamespace(
        name=record.name,
        record=record,
        ended=record.state in (GroupState.STOPPED, *ENDED),
        after=lambda event: advance(record.name, record.state, event),
    )


def changes_of(record: GroupRecord) -> RoleChanges:
    return RoleChanges(group_of(record), None, None)  # type: ignore[arg-type] # a stand-in


def refuse_silent(sides: Sides) -> None:
    if sides.primary is None or sides.secondary is None:
        raise GONE


async def try_checkpoint(record: GroupRecord, sides: Sides) -> None:
    checkpoints = Checkpointer(group_of(record), None, None, None)  # type: ignore[arg-type] # a stand-in
    if group_of(record).ended:
        await checkpoints.call(1.0)
    refuse_silent(sides)
    assert sides.primary is not None
    if sides.primary.state != ForwardState.FORWARD_STATE_REPLICATING:
        raise checkpoints.not_replicating()


async def try_failover(record: GroupRecord, sides: Sides) -> None:
    if record.state not in (GroupState.FAILED_OVER, GroupState.FAILING_OVER):
        group_of(record).after(Event.FAIL_OVER)
    fenced, there = record.fenced_clean, sides.secondary
    run = FailoverRun("vm1", force=False, primary_fenced=fenced)
    if there is None:
        raise GONE
    committed = there.committed_epoch if there.HasField("committed_epoch") else None
    failed_over = there.state in node_views.FAILED_OVER
    run.secondary_answered(committed, [], failed_over=failed_over, fenced=True)
    if run.step is Step.RAISE_GENERATION:
        run.generation_raised()
    if run.step is not None and record.state is not GroupState.FAILED_OVER:
        run.fence_answered(None if sides.primary else GONE)
    if run.error is not None:
        raise run.error


async def try_reprotect(record: GroupRecord, sides: Sides) -> None:
    group_of(record).after(Event.REPROTECT)
    refuse_silent(sides)
    assert sides.primary is not None
    assert sides.secondary is not None
    old = node_views.of_primary("a:1", sides.primary)
    survivor = node_views.of_secondary("b:2", sides.secondary)
    price = reprotect_cost(record, old, survivor, Side.PRIMARY, now=70.0)
    run = ReprotectRun("vm1")
    run.both_answered(old, survivor, price)
    if run.error is not None:
        raise run.error


async def try_switchover(record: GroupRecord, sides: Sides) -> None:
    await changes_of(record).switch_over(dry_run=True)
    refuse_silent(sides)


async def try_failback(record: GroupRecord, sides: Sides) -> None:
    await changes_of(record).fail_back(dry_run=True)
    refuse_silent(sides)


TRIES = {
    Verb.CHECKPOINT: try_checkpoint,
    Verb.FAILOVER: try_failover,
    Verb.REPROTECT: try_reprotect,
    Verb.SWITCHOVER: try_switchover,
    Verb.FAILBACK: try_failback,
}


async def refusal(verb: Verb, record: GroupRecord, sides: Sides) -> BlkcoloError | None:
    try:
        await TRIES[verb](record, sides)
    except BlkcoloError as error:
        return error
    return None


@pytest.mark.parametrize("verb", TRIES)
@given(record=records, sides=sides_seen, failure=failures)
@settings(max_examples=200)
async def test_what_is_refused_is_explained(
    verb: Verb, record: GroupRecord, sides: Sides, failure: BlkcoloError | None
) -> None:
    error = await refusal(verb, record, sides)
    conditions = explain(verb, seen(record, sides, failure))
    assert error is None or any(not each.holds for each in conditions), error


@given(records, sides_seen, failures)
def test_a_group_that_is_not_protected_has_a_condition_that_says_why(
    record: GroupRecord, sides: Sides, failure: BlkcoloError | None
) -> None:
    conditions = explain(Verb.PROTECT, seen(record, sides, failure))
    if record.state is not GroupState.PROTECTED:
        assert not all(each.holds for each in conditions)


@pytest.mark.parametrize("verb", Verb)
@given(record=records, sides=sides_seen, failure=failures)
def test_every_verb_always_has_the_same_conditions_and_commands_for_unmet_ones_only(
    verb: Verb, record: GroupRecord, sides: Sides, failure: BlkcoloError | None
) -> None:
    conditions = explain(verb, seen(record, sides, failure))
    assert [each.name for each in conditions] == list(CONDITIONS[verb])
    for each in conditions:
        assert each.sentence
        if each.holds:
            assert not each.command


#: Where the sides are as they shall be, these verbs have nothing to do.
_NOTHING_TO_DO = {
    Verb.REPROTECT: {"is_failed_over", "survivor_flushed", "nothing_given_up"},
    Verb.FAILBACK: {"away_from_home"},
}


@given(records, sides_seen, failures)
def test_only_what_is_wrong_has_a_command(
    record: GroupRecord, sides: Sides, failure: BlkcoloError | None
) -> None:
    for verb in Verb:
        for each in explain(verb, seen(record, sides, failure)):
            if not each.holds and not each.command:
                assert each.name in _NOTHING_TO_DO[verb]
                assert verb is Verb.FAILBACK or record.state not in ENDED


def test_nobody_is_told_to_fail_over_or_to_swap_a_protected_pair() -> None:
    primary = ForwardStatus(state=ForwardState.FORWARD_STATE_REPLICATING)
    secondary = ReplicaStatus(
        state=ReplicaState.REPLICA_STATE_RECEIVING, committed_epoch=3
    )
    record = GroupRecord("vm1", "a:1", "b:2", state=GroupState.PROTECTED)
    found = seen(record, Sides(primary, secondary), None)
    commands = {each.command for verb in Verb for each in explain(verb, found)}
    assert commands == {""}


@functools.cache
def parse(command: str) -> None:
    """As the command line does; it raises where that has no such command."""
    app.parse_args(shlex.split(command)[1:], exit_on_error=False)


@given(records, sides_seen, failures)
@settings(deadline=None)
def test_every_command_is_one_that_blkcolo_has(
    record: GroupRecord, sides: Sides, failure: BlkcoloError | None
) -> None:
    for verb in Verb:
        for each in explain(verb, seen(record, sides, failure)):
            if each.command:
                parse(each.command)


def test_all_is_well_where_all_is_well() -> None:
    record = GroupRecord("vm1", "a:1", "b:2", state=GroupState.PROTECTED)
    primary = ForwardStatus(state=ForwardState.FORWARD_STATE_REPLICATING)
    secondary = ReplicaStatus(
        state=ReplicaState.REPLICA_STATE_RECEIVING, committed_epoch=3
    )
    found = seen(record, Sides(primary, secondary), None)
    for verb in (Verb.PROTECT, Verb.CHECKPOINT, Verb.FAILOVER, Verb.SWITCHOVER):
        assert all(each.holds for each in explain(verb, found)), verb


def test_foreign_contents_and_a_dead_primary_name_the_command_that_mends_them() -> None:
    record = GroupRecord("vm1", "a:1", "b:2", state=GroupState.UNPROTECTED)
    differ = Refused(Reason.CONTENTS_DIFFER, "disk0 at 0: other bytes; discard them")
    lost = ForwardStatus(
        state=ForwardState.FORWARD_STATE_LOST, failure=failure_message(differ)
    )
    found = seen(record, Sides(lost, ReplicaStatus(state=1)), differ)  # type: ignore[arg-type] # a stand-in
    by_name = {each.name: each for each in explain(Verb.PROTECT, found)}
    assert by_name["contents_known"].command == "blkcolo resume vm1 --discard secondary"
    assert by_name["contents_known"].sentence == differ.message
    secondary = ReplicaStatus(state=1, committed_epoch=3)  # type: ignore[arg-type] # a stand-in
    found = seen(record, Sides(None, secondary), GONE)
    by_name = {each.name: each for each in explain(Verb.FAILOVER, found)}
    assert by_name["primary_can_be_fenced"].command == "blkcolo failover vm1 --force"
    assert by_name["checkpoint_held"].holds


def test_failover_that_is_not_finished_says_why_and_what_goes_on_with_it() -> None:
    record = GroupRecord("vm1", "a:1", "b:2", state=GroupState.FAILING_OVER)
    pruned = Refused(Reason.NO_CHECKPOINT, "does not hold checkpoint 2, it holds 6")
    found = seen(record, Sides(None, None), pruned)
    by_name = {each.name: each for each in explain(Verb.PROTECT, found)}
    assert pruned.message in by_name["no_role_change"].sentence
    assert by_name["no_role_change"].command == "blkcolo failover vm1"


def test_words_of_the_failed_over_states_are_those_of_the_wire() -> None:
    names = [
        ReplicaState.Name(each).removeprefix("REPLICA_STATE_").lower()
        for each in node_views.FAILED_OVER
    ]
    assert tuple(names) == FAILED_OVER
