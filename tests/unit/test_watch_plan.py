"""No look is held back while there is something to act on, nor for too long."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blkcolo_coordinator.core.policy import Observation, Policy, Trigger, decide
from blkcolo_coordinator.core.watch_plan import Known, WatchPlan, plan
from blkcolo_primary.core import watch as primary
from blkcolo_primary.core.watch import ForwardNow, ForwardWatch
from blkcolo_secondary.core import watch as secondary
from blkcolo_secondary.core.watch import ReplicaNow, ReplicaWatch

INTERVAL = 0.05
NOW = 1000.0
GENERATION, EPOCH = 3, 7
MIB = 1 << 20
KNOWN = Known(NOW, NOW - 0.5, GENERATION, EPOCH)
#: Rounding, far below a beat.
_ROUNDING = 1e-6

seconds = st.one_of(st.just(0.0), st.floats(0, 5))
small = st.integers(0, 100)
policies = st.builds(Policy, small, small, seconds, seconds, seconds)


@st.composite
def knowns(draw: st.DrawFn) -> Known:
    return Known(
        NOW,
        NOW - draw(seconds),
        GENERATION,
        EPOCH,
        draw(st.booleans()),
        draw(st.booleans()),
        draw(st.floats(0, 0.6)),
    )


sometimes_other = st.integers(0, 9).map(lambda number: number == 0)
forwards = st.builds(
    ForwardNow,
    sometimes_other.map(lambda other: not other),
    sometimes_other.map(lambda other: GENERATION + other),
    sometimes_other.map(lambda other: EPOCH + other),
    small,
    small,
)
replicas = st.builds(
    ReplicaNow,
    sometimes_other.map(lambda other: not other),
    sometimes_other.map(lambda other: GENERATION + other),
    small,
    st.integers(0, 3),
)


def answered(wanted: WatchPlan, forward: ForwardNow, replica: ReplicaNow) -> bool:
    """True if one of the two sides, asked for this, says at once how it is."""
    forward_watch = ForwardWatch(
        wanted.generation, wanted.epoch, wanted.sent_bytes, wanted.written
    )
    replica_watch = ReplicaWatch(wanted.generation, wanted.buffer_bytes, wanted.written)
    return primary.due(forward_watch, forward) or secondary.due(replica_watch, replica)


def acts(
    policy: Policy, known: Known, at: float, forward: ForwardNow, replica: ReplicaNow
) -> bool:
    """True if the coordinator does anything about what it finds at that moment."""
    if not (forward.replicating and replica.receiving):
        return True
    if {forward.generation, replica.generation} != {known.generation}:
        return True
    if forward.epoch != known.epoch:
        return True
    seen = Observation(
        at,
        known.last_at,
        forward.sent_bytes,
        replica.buffer_bytes,
        called=False,
        unchanged=forward.records == 0 and replica.overlay_bytes == 0,
        paused=known.paused,
        early=known.early,
    )
    return decide(policy, seen) is not None


@given(policies, knowns(), st.floats(0, 1), forwards, replicas)
def test_what_the_coordinator_acts_on_is_answered_at_once_or_within_an_interval(
    policy: Policy,
    known: Known,
    part: float,
    forward: ForwardNow,
    replica: ReplicaNow,
) -> None:
    wanted = plan(policy, known, INTERVAL)
    at = NOW + part * max(0.0, wanted.until - NOW)
    if acts(policy, known, at, forward, replica):
        in_time = wanted.until <= at + INTERVAL + _ROUNDING
        assert in_time or answered(wanted, forward, replica)


@given(policies, knowns(), forwards, replicas)
def test_what_is_answered_before_its_time_is_what_some_policy_acts_on(
    policy: Policy, known: Known, forward: ForwardNow, replica: ReplicaNow
) -> None:
    wanted = plan(policy, known, INTERVAL)
    if not answered(wanted, forward, replica):
        return
    loose = replace(policy, min_interval_seconds=0.0, max_interval_seconds=1e-9)
    assert acts(loose, replace(known, paused=False), NOW, forward, replica)


@given(policies, knowns())
def test_the_time_ends_within_two_seconds_and_on_a_beat(
    policy: Policy, known: Known
) -> None:
    wanted = plan(policy, known, INTERVAL)
    longest = 2.0 if known.unchanged else 1.0
    assert wanted.until <= NOW + longest + INTERVAL
    beats = wanted.until / wanted.beat
    assert beats == pytest.approx(round(beats))


@given(policies, knowns())
def test_a_recovery_point_that_stays_as_it_was_is_told_within_half_its_target(
    policy: Policy, known: Known
) -> None:
    if policy.rpo_target_seconds > 10 * INTERVAL:
        wanted = plan(policy, replace(known, unchanged=True), INTERVAL)
        assert wanted.until - NOW < policy.rpo_target_seconds / 2


def test_one_that_is_written_to_waits_for_its_bytes_and_its_interval() -> None:
    wanted = plan(Policy(max_interval_seconds=1.0), KNOWN, INTERVAL)
    assert (wanted.sent_bytes, wanted.buffer_bytes) == (64 * MIB, 256 * MIB)
    assert not wanted.written, "that it is written to is no news"
    assert NOW + 0.5 <= wanted.until < NOW + 0.5 + INTERVAL


def test_one_that_is_quiet_and_whose_interval_is_over_waits_for_a_write() -> None:
    known = replace(KNOWN, last_at=NOW - 60, unchanged=True)
    wanted = plan(Policy(), known, INTERVAL)
    assert wanted.written
    assert wanted.until == pytest.approx(NOW + 2, abs=INTERVAL)


def test_bytes_do_not_end_it_while_no_checkpoint_is_allowed() -> None:
    policy = Policy(min_interval_seconds=0.8, max_interval_seconds=5.0)
    wanted = plan(policy, KNOWN, INTERVAL)
    assert (wanted.sent_bytes, wanted.buffer_bytes) == (0, 0)
    assert NOW + 0.3 <= wanted.until < NOW + 0.3 + INTERVAL


def test_a_pause_waits_for_changes_of_the_state_alone() -> None:
    known = replace(KNOWN, last_at=NOW - 60, unchanged=True, paused=True)
    wanted = plan(Policy(), known, INTERVAL)
    assert (wanted.sent_bytes, wanted.buffer_bytes, wanted.written) == (0, 0, False)


def test_each_trigger_is_what_a_side_answers() -> None:
    """So that the relation above does not hold because nothing is ever acted on."""
    quiet = ForwardNow(True, GENERATION, EPOCH, 0, 0)
    empty = ReplicaNow(True, GENERATION, 0, 0)
    late = replace(KNOWN, last_at=NOW - 0.9, unchanged=True)
    for trigger, known, forward, replica in (
        (None, KNOWN, quiet, empty),
        (Trigger.SENT_BYTES, KNOWN, quiet._replace(sent_bytes=64 * MIB), empty),
        (Trigger.BUFFER, KNOWN, quiet, empty._replace(buffer_bytes=256 * MIB)),
        (
            Trigger.MAX_INTERVAL,
            replace(late, last_at=NOW - 2),
            quiet._replace(records=1),
            empty,
        ),
        (
            Trigger.MAX_INTERVAL,
            replace(late, last_at=NOW - 2),
            quiet,
            empty._replace(overlay_bytes=1),
        ),
    ):
        wanted = plan(Policy(), known, INTERVAL)
        assert acts(Policy(), known, NOW, forward, replica) is (trigger is not None)
        assert answered(wanted, forward, replica) is (trigger is not None)
