"""The plans of reprotect and switchover, interrupted after each step."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blkcolo.errors import DeadlineMissed, Reason, Refused, Unavailable
from blkcolo.extents import Extent, coarsened
from blkcolo.roles import Role
from blkcolo_coordinator.runs import reprotect_run, switchover_run
from blkcolo_coordinator.runs.reprotect_run import ReprotectRun
from blkcolo_coordinator.runs.roles import Cost, NodeView, Side, cost
from blkcolo_coordinator.runs.switchover_run import SwitchoverRun

SIZE = 1 << 20
OLD = NodeView("old:1", Role.PRIMARY, 2, SIZE, 4096, fenced=True)
SURVIVOR = NodeView("new:1", Role.SECONDARY, 2, SIZE, 8192, failed_over=True)
FREE = Cost(None, "", 0.0, 0, 0)
DEAR = Cost(Side.PRIMARY, "old:1", 1.0, 4096, 0)


class Pair:
    """Two nodes and a store; a step changes one of them."""

    def __init__(self, loser: Side) -> None:
        self.old, self.survivor, self.loser = OLD, SURVIVOR, loser
        self.ordered = self.finished = False

    def carry_out(self, run: ReprotectRun) -> None:
        step = reprotect_run.Step
        match run.step:
            case step.ASK_BOTH:
                run.both_answered(self.old, self.survivor, FREE)
            case step.RAISE_GENERATION:
                self.ordered = True
                run.generation_raised()
            case step.DEMOTE:
                if self.loser is Side.PRIMARY:
                    self.old = replace(self.old, role=Role.SECONDARY, fenced=False)
                else:
                    self.survivor = replace(self.survivor, failed_over=False)
                run.demoted()
            case step.PROMOTE:
                self.survivor = replace(
                    self.survivor, role=Role.PRIMARY, failed_over=False
                )
                run.promoted()
            case step.FINISH:
                self.finished = True
                run.finished()
            case None:
                raise AssertionError(run.error)


@pytest.mark.parametrize("loser", list(Side))
@pytest.mark.parametrize("interrupted_after", range(6))
def test_reprotect_interrupted_anywhere_is_finished_by_another_run(
    loser: Side, interrupted_after: int
) -> None:
    pair = Pair(loser)
    first = ReprotectRun("vm1", loser)
    for _ in range(interrupted_after):
        if first.step is not None:
            pair.carry_out(first)
    if not pair.finished:
        second = ReprotectRun("vm1", loser, ordered=pair.ordered)
        while second.step is not None:
            pair.carry_out(second)
        assert second.error is None
    assert pair.finished
    roles = pair.old.role, pair.survivor.role
    if loser is Side.PRIMARY:
        assert roles == (Role.SECONDARY, Role.PRIMARY)
    else:
        assert roles == (Role.PRIMARY, Role.SECONDARY)
        assert not pair.survivor.failed_over


@pytest.mark.parametrize(
    ("survivor", "price", "words"),
    [
        (replace(SURVIVOR, failed_over=False), FREE, "was not failed over"),
        (replace(SURVIVOR, flush_remaining=7), FREE, "7 bytes are still to be flushed"),
        (SURVIVOR, DEAR, "--discard primary"),
    ],
)
def test_reprotect_that_is_refused_changes_nothing(
    survivor: NodeView, price: Cost, words: str
) -> None:
    run = ReprotectRun("vm1")
    run.both_answered(OLD, survivor, price)
    assert run.step is None
    assert words in str(run.error)


def test_named_loser_is_given_up() -> None:
    run = ReprotectRun("vm1", Side.PRIMARY, named=True)
    run.both_answered(OLD, SURVIVOR, DEAR)
    assert run.step is reprotect_run.Step.RAISE_GENERATION


def test_cost_is_what_the_loser_wrote_since_the_checkpoint_it_would_go_back_to() -> (
    None
):
    priced = partial(cost, committed_at=100.0, failed_over_at=110.0, now=200.0)
    found = priced(OLD, SURVIVOR, Side.PRIMARY)
    assert found == Cost(Side.PRIMARY, "old:1", 10.0, 4096, 12288)
    alive = replace(OLD, last_write_at=103.0)
    assert priced(alive, SURVIVOR, Side.PRIMARY).seconds == 3.0
    found = priced(OLD, SURVIVOR, Side.SECONDARY)
    assert found == Cost(Side.SECONDARY, "new:1", 90.0, 8192, 12288)
    unknown = replace(OLD, dirty=None)
    assert priced(unknown, SURVIVOR, Side.PRIMARY).lost_bytes == SIZE
    clean = replace(OLD, dirty=0)
    assert priced(clean, SURVIVOR, Side.PRIMARY).loser is None
    # To an older checkpoint: what the failover undid is given up as well.
    found = priced(clean, SURVIVOR, Side.PRIMARY, chosen=True)
    assert found == Cost(Side.PRIMARY, "old:1", 10.0, 8192, 8192)


def started() -> SwitchoverRun:
    run = SwitchoverRun("vm1")
    run.held()
    run.checkpointed(7)
    run.generation_raised()
    return run


def test_switchover_goes_from_step_to_step() -> None:
    run = started()
    assert (run.step, run.epoch) == (switchover_run.Step.FENCE, 7)
    run.fenced()
    assert run.step is switchover_run.Step.STOP_SECONDARY
    run.stopped()
    assert run.error is None
    assert not run.aborted


@pytest.mark.parametrize("steps", range(3))
def test_switchover_that_fails_before_the_fence_leaves_the_old_roles(
    steps: int,
) -> None:
    run = SwitchoverRun("vm1")
    if steps > 0:
        run.held()
    if steps > 1:
        run.checkpointed(7)
    run.fail(Unavailable(Reason.PEER_UNREACHABLE, "gone"))
    assert run.aborted


def test_refused_fence_aborts_and_an_unanswered_one_does_not() -> None:
    refused = started()
    refused.fail(Refused(Reason.WRONG_STATE, "a write came"))
    assert refused.aborted
    for error in (
        Unavailable(Reason.PEER_UNREACHABLE, "gone"),
        DeadlineMissed(Reason.DEADLINE, "late"),
    ):
        unknown = started()
        unknown.fail(error)
        assert not unknown.aborted


@pytest.mark.parametrize(
    ("stored", "primary", "step", "aborted"),
    [
        (True, None, switchover_run.Step.STOP_SECONDARY, False),
        (False, None, None, False),
        (False, replace(OLD, generation=3), switchover_run.Step.STOP_SECONDARY, False),
        (False, replace(OLD, generation=3, fenced=False), None, True),
        (False, OLD, None, True),
    ],
)
def test_switchover_goes_on_from_what_is_stored_and_what_the_primary_says(
    stored: bool,
    primary: NodeView | None,
    step: switchover_run.Step | None,
    aborted: bool,
) -> None:
    run = SwitchoverRun.resumed("vm1", 3, fenced=stored, primary=primary)
    assert (run.step, run.aborted) == (step, aborted)


@given(st.sets(st.integers(0, 255)), st.integers(1, 9))
def test_coarsened_extents_cover_all_and_are_few(blocks: set[int], most: int) -> None:
    extents = [Extent(block * 4096, 4096) for block in sorted(blocks)]
    found = coarsened(extents, most, SIZE)
    assert len(found) <= most
    assert all(
        any(f.offset <= e.offset and e.end <= f.end for f in found) for e in extents
    )
    assert all(f.end <= SIZE for f in found)
    ends = [0, *(f.end for f in found)]
    assert all(f.offset >= end for f, end in zip(found, ends, strict=False))
