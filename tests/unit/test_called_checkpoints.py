"""A checkpoint that somebody waits for begins without a look at both sides."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from blkcolo.errors import BlkcoloError, Reason, Refused, Unavailable
from blkcolo.wakeup import Wakeup
from blkcolo_coordinator.core.group_record import GroupRecord
from blkcolo_coordinator.core.group_state import GroupState
from blkcolo_coordinator.core.headway import Headway
from blkcolo_coordinator.core.policy import Policy, Trigger
from blkcolo_coordinator.runs.checkpoint_run import CheckpointRun, Outcome, Step
from blkcolo_coordinator.runtime.checkpointer import Checkpointer

if TYPE_CHECKING:
    from collections.abc import Callable

_ANSWERED = "answered"
#: Turns of the loop that a call to a side takes.
_TURNS = 10


class _Sides:
    """Both sides, as the coordinator meets them; notes what is asked of them."""

    def __init__(self) -> None:
        self.log: list[tuple[int, object]] = []
        self.fails: dict[Step, BlkcoloError] = {}

    async def take_step(self, run: CheckpointRun, step: Step) -> None:
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        self.log.append((run.epoch, step))
        error = self.fails.get(step)
        if error is None:
            run.succeeded(0.0)
        else:
            run.failed(0.0, error)

    async def take_checkpoint(self, run: CheckpointRun) -> None:
        while run.step is not None:
            await self.take_step(run, run.step)


class _Group:
    """What a checkpointer needs of a group; notes what became of its checkpoints."""

    name, log, ended = "vm1", structlog.get_logger(), False

    def __init__(self) -> None:
        policy = Policy(min_interval_seconds=0, max_interval_seconds=0)
        record = GroupRecord("vm1", "a:1", "b:1", policy)
        self.record = replace(record, state=GroupState.PROTECTED)
        self.metrics = SimpleNamespace(committed=lambda *_: None)
        self.committed_epochs: list[int] = []
        self.failures: list[BlkcoloError] = []

    def committed(self, epoch: int, trigger: str) -> None:
        del trigger
        self.committed_epochs.append(epoch)

    def checkpoint_failed(self, epoch: int, error: BlkcoloError) -> None:
        del epoch
        self.failures.append(error)

    def lost(self, error: BlkcoloError) -> None:
        self.failures.append(error)


class _Bench:
    def __init__(self) -> None:
        self.sides, self.group = _Sides(), _Group()
        group: Any = self.group
        steps: Any = self.sides
        self.checkpoints = Checkpointer(group, steps, Headway(), Wakeup())

    async def called(self) -> asyncio.Task[CheckpointRun]:
        call = asyncio.create_task(self.checkpoints.call(5))
        call.add_done_callback(lambda _: self.sides.log.append((0, _ANSWERED)))
        await asyncio.sleep(0)
        return call


@pytest.fixture
async def bench() -> _Bench:
    """A group whose checkpoint 5 is committed."""
    made = _Bench()
    await made.checkpoints.take(5, Trigger.START)
    made.sides.log.clear()
    return made


async def test_it_is_of_the_epoch_behind_the_last_commit(bench: _Bench) -> None:
    call = await bench.called()
    await bench.checkpoints.take_called()
    run = await call
    assert (run.epoch, run.outcome) == (6, Outcome.COMMITTED)
    assert bench.group.committed_epochs == [5, 6]
    call = await bench.called()
    await bench.checkpoints.take_called()
    assert (await call).epoch == 7


async def test_it_is_answered_behind_the_commit_and_before_the_primary_is_told(
    bench: _Bench,
) -> None:
    call = await bench.called()
    await bench.checkpoints.take_called()
    assert call.done()
    assert [what for _, what in bench.sides.log] == [
        Step.PREPARE_PRIMARY,
        Step.PREPARE_SECONDARY,
        Step.DO_SECONDARY,
        _ANSWERED,
        Step.DO_PRIMARY,
    ]


async def test_a_primary_that_refuses_the_barrier_leaves_the_call_to_the_look(
    bench: _Bench,
) -> None:
    bench.sides.fails[Step.PREPARE_PRIMARY] = Refused(Reason.EPOCH_GAP, "another")
    call = await bench.called()
    await bench.checkpoints.take_called()
    assert not call.done()
    assert not bench.group.failures
    bench.sides.fails.clear()
    await bench.checkpoints.take(9, Trigger.CALL)  # as the look says
    assert (await call).epoch == 9


async def test_a_failure_behind_the_barrier_is_told_to_who_waits(bench: _Bench) -> None:
    gone = Unavailable(Reason.PEER_UNREACHABLE, "gone")
    bench.sides.fails[Step.PREPARE_SECONDARY] = gone
    call = await bench.called()
    await bench.checkpoints.take_called()
    with pytest.raises(Unavailable):
        await call
    assert bench.group.failures == [gone, gone]
    assert bench.group.committed_epochs == [5]


async def test_a_primary_that_is_not_told_costs_nobody_the_checkpoint(
    bench: _Bench,
) -> None:
    lost = Unavailable(Reason.PEER_UNREACHABLE, "gone")
    bench.sides.fails[Step.DO_PRIMARY] = lost
    call = await bench.called()
    await bench.checkpoints.take_called()
    assert (await call).epoch == 6
    await _needs_a_look(bench)


def _anew(bench: _Bench) -> None:
    bench.checkpoints.starts_anew()


def _unprotected(bench: _Bench) -> None:
    bench.group.record = replace(bench.group.record, state=GroupState.UNPROTECTED)


@pytest.mark.parametrize("happened", [_anew, _unprotected])
async def test_it_needs_a_look_where_more_may_have_happened_than_a_commit(
    bench: _Bench, happened: Callable[[_Bench], None]
) -> None:
    happened(bench)
    await _needs_a_look(bench)


async def _needs_a_look(bench: _Bench) -> None:
    bench.sides.log.clear()
    call = await bench.called()
    await bench.checkpoints.take_called()
    assert not bench.sides.log
    assert not call.done()
    call.cancel()


async def test_nothing_is_taken_that_nobody_calls_for(bench: _Bench) -> None:
    await bench.checkpoints.take_called()
    assert not bench.sides.log
