"""Policy, two-phase checkpoint, failover and backoff: values in, values out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blkcolo.errors import (
    BlkcoloError,
    DataLoss,
    DeadlineMissed,
    Reason,
    Refused,
    Unavailable,
)
from blkcolo_coordinator.core.backoff import NEEDS_OPERATOR, Backoff
from blkcolo_coordinator.core.headway import Headway
from blkcolo_coordinator.core.policy import Observation, Policy, Trigger, decide
from blkcolo_coordinator.runs.checkpoint_run import (
    DO_ATTEMPTS,
    CheckpointRun,
    Outcome,
    Step,
)
from blkcolo_coordinator.runs.failover_run import FailoverRun
from blkcolo_coordinator.runs.failover_run import Step as FailoverStep

LOST = Unavailable(Reason.PEER_UNREACHABLE, "gone")
LATE = DeadlineMissed(Reason.DEADLINE, "late")
NO = Refused(Reason.NOT_PREPARED, "no")

policies = st.builds(
    Policy,
    st.integers(0, 100),
    st.integers(0, 100),
    st.floats(0, 1),
    st.floats(0, 2),
)
observations = st.builds(
    Observation,
    st.floats(10, 20),
    st.one_of(st.none(), st.floats(5, 15)),
    st.integers(0, 200),
    st.integers(0, 200),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)


@given(policies, observations)
def test_a_checkpoint_has_a_reason_and_never_comes_before_min_interval(
    policy: Policy, seen: Observation
) -> None:
    trigger = decide(policy, seen)
    if seen.last_at is None:
        assert trigger is Trigger.START
        return
    age = seen.now - seen.last_at
    due = {
        Trigger.CALL: seen.called,
        Trigger.SENT_BYTES: 0 < policy.sent_bytes <= seen.sent_bytes
        and not seen.paused,
        Trigger.BUFFER: 0 < policy.buffer_high_water_bytes <= seen.buffer_bytes
        and not seen.paused,
        Trigger.MAX_INTERVAL: 0 < policy.max_interval_seconds <= age
        and not seen.unchanged
        and not seen.paused,
    }
    if age < policy.min_interval_seconds or not any(due.values()):
        assert trigger is None
    else:
        assert trigger is next(name for name, is_due in due.items() if is_due)


def at_step(step: Step) -> CheckpointRun:
    run = CheckpointRun(epoch=5, generation=1)
    while run.step is not step:
        run.succeeded(0.5, barrier_seq=9 if run.step is Step.PREPARE_PRIMARY else 0)
    return run


def test_steps_come_in_order_and_the_seq_and_times_are_kept() -> None:
    run = at_step(Step.DO_PRIMARY)
    assert list(run.seconds) == list(Step)[:3]
    assert run.barrier_seq == 9
    run.succeeded(0.5)
    assert (run.outcome, run.step, run.error) == (Outcome.COMMITTED, None, None)
    assert run.total_seconds == 2.0
    with pytest.raises(ValueError, match="COMMITTED"):
        run.succeeded(0.1)


@pytest.mark.parametrize("step", [Step.PREPARE_PRIMARY, Step.PREPARE_SECONDARY])
@pytest.mark.parametrize("error", [LOST, LATE, NO])
def test_failure_before_the_commit_record_aborts(
    step: Step, error: BlkcoloError
) -> None:
    run = at_step(step)
    run.failed(0.1, error)
    assert (run.outcome, run.error, run.step) == (Outcome.ABORTED, error, None)


def test_refused_commit_aborts() -> None:
    run = at_step(Step.DO_SECONDARY)
    run.failed(0.1, NO)
    assert run.outcome is Outcome.ABORTED


@pytest.mark.parametrize("error", [LOST, LATE])
def test_lost_commit_answer_is_asked_for_again_and_then_unknown(
    error: BlkcoloError,
) -> None:
    run = at_step(Step.DO_SECONDARY)
    for _ in range(DO_ATTEMPTS - 1):
        run.failed(0.1, error)
        assert run.step is Step.DO_SECONDARY
    run.failed(0.1, error)
    assert run.outcome is Outcome.UNKNOWN


def test_failure_after_the_commit_is_a_warning() -> None:
    run = at_step(Step.DO_PRIMARY)
    run.failed(0.1, LOST)
    assert (run.outcome, run.error) == (Outcome.COMMITTED, LOST)


def test_failover_fences_before_the_secondary_is_stopped() -> None:
    run = FailoverRun("vm", force=False)
    run.secondary_answered(3, [], failed_over=False, fenced=False)
    assert run.step is FailoverStep.RAISE_GENERATION
    run.generation_raised()
    assert (run.step, run.ordered) == (FailoverStep.FENCE_PRIMARY, False)
    run.fence_answered(None)
    assert (run.step, run.primary_fenced) == (FailoverStep.STOP_SECONDARY, True)
    run.stopped()
    assert run.error is None


@pytest.mark.parametrize("stopped", [False, True])
def test_discarded_contents_are_served_once_a_stop_has_brought_them_back(
    *, stopped: bool
) -> None:
    run = FailoverRun("vm1", force=True)
    run.secondary_answered(
        None, [], failed_over=False, fenced=False, discarded=True, stopped=stopped
    )
    if stopped:
        assert run.step is FailoverStep.RAISE_GENERATION
        assert run.leads_to is None
    else:
        assert run.step is None
        assert "blkcolo stop vm1" in str(run.error)


def test_failover_without_checkpoint_raises_no_generation() -> None:
    run = FailoverRun("vm", force=True)
    run.secondary_answered(None, [], failed_over=False, fenced=False)
    assert run.step is None
    assert run.error is not None
    assert run.error.reason is Reason.NO_CHECKPOINT


def test_failover_that_is_repeated_with_another_checkpoint_is_refused() -> None:
    for epoch, refused in ((None, False), (3, False), (4, True)):
        run = FailoverRun("vm", force=False, epoch=epoch)
        run.secondary_answered(3, [], failed_over=True, fenced=True)
        assert (run.error is not None) == refused
        assert "it holds 3" in str(run.error or "it holds 3")


def test_failover_that_goes_on_leads_to_where_another_stop_has_led() -> None:
    for fenced in (False, True):
        run = FailoverRun(
            "vm", force=False, epoch=4, primary_fenced=fenced, ordered=not fenced
        )
        run.secondary_answered(6, [], failed_over=True, fenced=True)
        assert (run.step, run.ordered) == (FailoverStep.FENCE_PRIMARY, True)
        assert (run.epoch, run.leads_to) == (None, 6)  # the next stop names none
    first = FailoverRun("vm", force=False, epoch=4)
    first.secondary_answered(6, [], failed_over=True, fenced=True)
    assert not first.ordered  # the old roles go on


@pytest.mark.parametrize("force", [False, True])
def test_unanswered_fence_needs_force(force: bool) -> None:
    run = FailoverRun("vm", force=force)
    run.secondary_answered(3, [], failed_over=False, fenced=False)
    run.generation_raised()
    run.fence_answered(LOST)
    if force:
        assert run.step is FailoverStep.STOP_SECONDARY
        assert not run.primary_fenced
    else:
        assert run.error is not None
        assert run.error.reason is Reason.NOT_FENCED
        assert not run.ordered


def test_failover_behind_the_fence_of_a_switchover_goes_on_without_an_answer() -> None:
    unheard = FailoverRun("vm", force=False, primary_fenced=True)
    unheard.fail(LOST)
    assert unheard.ordered  # the secondary may be failed over by the switchover
    run = FailoverRun("vm", force=False, primary_fenced=True)
    run.secondary_answered(3, [], failed_over=False, fenced=True)
    assert run.step is FailoverStep.RAISE_GENERATION
    run.generation_raised()
    run.fence_answered(LOST)
    assert (run.step, run.primary_fenced) == (FailoverStep.STOP_SECONDARY, True)


def test_checkpoint_that_is_not_held_ends_a_failover_behind_a_fence_too() -> None:
    run = FailoverRun("vm", force=False, epoch=2, primary_fenced=True)
    run.secondary_answered(3, [3], failed_over=False, fenced=True)
    assert run.error is not None
    assert not run.ordered  # the old roles go on


@pytest.mark.parametrize("fenced", [False, True])
def test_interrupted_failover_is_driven_to_its_end(fenced: bool) -> None:
    run = FailoverRun("vm", force=False)
    run.secondary_answered(3, [], failed_over=True, fenced=fenced)
    expected = FailoverStep.FENCE_PRIMARY if fenced else FailoverStep.RAISE_GENERATION
    assert run.step is expected
    run.generation_raised()
    run.fence_answered(LOST)
    assert run.step is FailoverStep.STOP_SECONDARY


def test_backoff_doubles_up_to_a_bound_and_blocks_what_needs_an_operator() -> None:
    backoff, now, waits = Backoff(), 100.0, []
    for _ in range(10):
        backoff.failed(now, LOST)
        waits.append(backoff.not_before - now)
        assert not backoff.may_try(now)
        assert backoff.may_try(backoff.not_before)
    assert waits[1] == 2 * waits[0]
    assert waits[-1] == waits[-2] <= 30
    for reason in NEEDS_OPERATOR:
        backoff.failed(now, Refused(reason, ""))
        assert not backoff.may_try(now + 1000)
        backoff.reset()
        assert backoff.may_try(now)


def test_streams_lost_before_a_commit_are_told_as_no_headway() -> None:
    headway = Headway()
    failure = DataLoss(Reason.CONGESTION, "the window was full")
    for _ in range(2):
        headway.lost()
        assert headway.told("vm", failure) is failure
    headway.lost()
    assert headway.missing
    told = headway.told("vm", failure)
    assert told.reason is Reason.NO_HEADWAY
    assert "CONGESTION" in str(told)
    for reason in (Reason.DISK_FULL, Reason.DISK_ERROR, Reason.CHECKSUM):
        of_disk = DataLoss(reason, "no room", "disk0", 4096, errno=28)
        assert headway.told("vm", of_disk) is of_disk  # no link is to blame
    headway.committed()
    assert headway.told("vm", failure) is failure


def test_failover_taken_up_again_is_not_given_up_without_an_answer() -> None:
    run = FailoverRun("vm", force=False, ordered=True)
    run.fail(LOST)
    assert run.ordered
    run = FailoverRun("vm", force=False, ordered=True)
    run.secondary_answered(3, [3], failed_over=False, fenced=False)
    assert not run.ordered
