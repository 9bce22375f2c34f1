"""What a coordinator makes of two sides that hold their answers back, or cannot."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from blkcolo.errors import BlkcoloError, DeadlineMissed, Reason, Unavailable
from blkcolo.v1 import primary_pb2, secondary_pb2, types_pb2
from blkcolo.wakeup import Wakeup
from blkcolo_coordinator.core.group_record import GroupRecord
from blkcolo_coordinator.core.group_state import GroupState
from blkcolo_coordinator.core.policy import Policy
from blkcolo_coordinator.core.watch_plan import WatchPlan
from blkcolo_coordinator.record.store import Store
from blkcolo_coordinator.runtime.counts import CoordinatorMetrics
from blkcolo_coordinator.runtime.group_driver import GroupDriver
from blkcolo_coordinator.runtime.group_watch import NONE, Answers, GroupWatch
from blkcolo_coordinator.settings import CoordinatorSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

BUSY = WatchPlan(until=100.0, beat=0.025, generation=1, epoch=1, sent_bytes=1)
QUIET = WatchPlan(until=100.0, beat=0.025, generation=1, epoch=1, written=True)
FORWARD = primary_pb2.ForwardStatus(state=types_pb2.FORWARD_STATE_REPLICATING)
REPLICA = secondary_pb2.ReplicaStatus(state=types_pb2.REPLICA_STATE_RECEIVING)
_TURNS = 5


def forward(due: bool | None) -> primary_pb2.PrimaryServiceGetStatusResponse:
    return primary_pb2.PrimaryServiceGetStatusResponse(groups=[FORWARD], due=due)


def replica(due: bool | None) -> secondary_pb2.SecondaryServiceGetStatusResponse:
    return secondary_pb2.SecondaryServiceGetStatusResponse(groups=[REPLICA], due=due)


class Side:
    """Is asked; answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[Any]] = []

    def watch(self, _: WatchPlan, __: float) -> asyncio.Future[Any]:
        self.asked.append(asyncio.get_running_loop().create_future())
        return self.asked[-1]


class Watched:
    """A group's watch, and its two sides."""

    def __init__(self) -> None:
        self.primary, self.secondary, self.wake = Side(), Side(), Wakeup()
        pair: Any = self
        self.watch = GroupWatch(pair, self.wake)

    async def begin(self, plan: WatchPlan = BUSY) -> asyncio.Task[Answers]:
        waiting = asyncio.create_task(self.watch.answers(plan, 1.0))
        await turns()
        return waiting

    def asked(self) -> list[asyncio.Future[Any]]:
        return [*self.primary.asked, *self.secondary.asked]


async def turns() -> None:
    for _ in range(_TURNS):
        await asyncio.sleep(0)


@pytest.fixture
async def group() -> Watched:
    return Watched()


async def test_two_sides_whose_time_is_over_are_the_look(group: Watched) -> None:
    waiting = await group.begin()
    group.secondary.asked[0].set_result(replica(due=False))
    await turns()
    assert not waiting.done(), "the other one answers at about the same time"
    group.primary.asked[0].set_result(forward(due=False))
    assert (await waiting)[:2] == (FORWARD, REPLICA)


async def test_the_first_that_has_something_ends_the_wait_for_the_other(
    group: Watched,
) -> None:
    waiting = await group.begin()
    group.primary.asked[0].set_result(forward(due=True))
    assert (await waiting)[:2] == (FORWARD, None)
    assert group.secondary.asked[0].cancelled()
    waiting = await group.begin()
    group.secondary.asked[1].set_result(replica(due=True))
    assert (await waiting)[:2] == (None, REPLICA)
    assert group.primary.asked[1].cancelled()


async def test_whoever_wants_something_of_the_group_ends_it(group: Watched) -> None:
    waiting = await group.begin()
    group.wake.fire()
    assert await waiting == NONE
    assert all(each.cancelled() for each in group.asked())


@pytest.mark.parametrize("first", ["primary", "secondary"])
async def test_whoever_comes_together_with_the_end_of_a_sides_time_ends_it_too(
    group: Watched, first: str
) -> None:
    waiting = await group.begin()
    told = forward(due=False) if first == "primary" else replica(due=False)
    getattr(group, first).asked[0].set_result(told)
    await asyncio.sleep(0)
    group.wake.fire()
    assert await asyncio.wait_for(waiting, 20) == NONE


async def test_answers_are_as_old_as_the_first_of_them(group: Watched) -> None:
    """The other side may hang meanwhile, until the call's deadline."""
    waiting = await group.begin()
    group.primary.asked[0].set_result(forward(due=False))
    await turns()
    heard = time.monotonic()
    group.secondary.asked[0].set_exception(DeadlineMissed(Reason.DEADLINE, "silence"))
    at = (await waiting).at
    assert at is not None
    assert at <= heard


async def test_one_that_is_cancelled_leaves_no_call_and_no_wait(group: Watched) -> None:
    waiting = await group.begin()
    waiting.cancel()
    await asyncio.wait([waiting])
    assert all(each.cancelled() for each in group.asked())
    assert not group.wake._waiting


@pytest.mark.parametrize(
    ("error", "known"),
    [
        (DeadlineMissed(Reason.DEADLINE, "silence"), True),
        (Unavailable(Reason.PEER_UNREACHABLE, "gone"), False),
        (Unavailable(Reason.STOPPING, "stops"), False),
    ],
)
async def test_silence_is_an_answer_and_any_other_failure_is_for_a_look_to_find_out(
    group: Watched, error: BlkcoloError, known: bool
) -> None:
    waiting = await group.begin()
    group.secondary.asked[0].set_exception(error)
    assert (await waiting)[:2] == (None, error if known else None)


@pytest.mark.parametrize("older", ["primary", "secondary", "both"])
async def test_an_older_node_is_not_asked_again_but_for_a_quiet_group_its_primary(
    group: Watched, older: str
) -> None:
    waiting = await group.begin()
    if older != "secondary":
        group.primary.asked[0].set_result(forward(due=None))
    if older != "primary":
        group.secondary.asked[0].set_result(replica(due=None))
    await waiting
    assert not group.watch.can(BUSY)
    assert group.watch.can(QUIET)
    waiting = await group.begin(QUIET)
    assert len(group.secondary.asked) == 1
    group.primary.asked[1].set_result(forward(due=None))
    assert (await waiting)[:2] == (FORWARD, None)


class OlderSide:
    """Knows no watch, and answers at once, as it is; the VM writes as time goes by."""

    def __init__(self, status: Any, answer: Any) -> None:
        self.status_now, self._answer = status, answer
        self.looks = 0
        self.looked_at = 0.0

    async def status(self) -> Any:
        self.looks += 1
        self.looked_at = time.monotonic()
        return self.status_now

    def watch(self, _: WatchPlan, __: float) -> asyncio.Future[Any]:
        told = asyncio.get_running_loop().create_future()
        told.set_result(self._answer(groups=[self.status_now]))
        return told

    async def prepare(self, epoch: int, *_: object) -> int:
        return epoch

    async def do_checkpoint(self, epoch: int, _: int) -> None:
        self.status_now.epoch = epoch + 1


@pytest.fixture
async def older(tmp_path: Path) -> AsyncIterator[tuple[GroupDriver, OlderSide]]:
    """A group on two nodes of an older version, and its primary."""
    primary = OlderSide(
        primary_pb2.ForwardStatus(
            state=types_pb2.FORWARD_STATE_REPLICATING, generation=1, epoch=1
        ),
        primary_pb2.PrimaryServiceGetStatusResponse,
    )
    secondary = OlderSide(
        secondary_pb2.ReplicaStatus(
            state=types_pb2.REPLICA_STATE_RECEIVING, generation=1
        ),
        secondary_pb2.SecondaryServiceGetStatusResponse,
    )

    async def close() -> None:
        pass

    pair: Any = SimpleNamespace(primary=primary, secondary=secondary, close=close)
    settings = CoordinatorSettings(data_dir=tmp_path, poll_interval_seconds=0.002)
    policy = Policy(sent_bytes=4096, min_interval_seconds=0, max_interval_seconds=0)
    record = GroupRecord("vm1", "a:1", "b:1", policy, generation=1)
    store = Store(tmp_path / "coordinator.db")
    driver = GroupDriver(record, store, pair, settings, CoordinatorMetrics())
    driver.start()
    yield driver, primary
    await driver.close()
    store.close()


async def until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - a bounded wait
            await asyncio.sleep(0.001)


async def test_a_group_on_older_nodes_is_looked_at_in_every_interval_as_before(
    older: tuple[GroupDriver, OlderSide],
) -> None:
    driver, primary = older
    await until(lambda: driver.record.state is GroupState.PROTECTED)
    for _ in range(3):
        before, looks = driver.record.committed or 0, primary.looks
        await until(lambda looks=looks: primary.looks > looks)
        primary.status_now.sent_bytes_in_epoch = 4096
        await until(lambda before=before: (driver.record.committed or 0) > before)
        assert driver.record.trigger_name == "sent_bytes"
        primary.status_now.sent_bytes_in_epoch = 0


async def test_the_recovery_point_is_no_younger_than_the_look_at_the_primary(
    older: tuple[GroupDriver, OlderSide], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, primary = older
    await until(lambda: driver.record.state is GroupState.PROTECTED)
    younger: list[float] = []

    def nothing_written(steady: float) -> None:
        younger.append(steady - primary.looked_at)

    point = driver._group.recovery_point
    monkeypatch.setattr(point, "nothing_written", nothing_written)
    primary.status_now.committed_epoch = primary.status_now.epoch - 1
    await until(lambda: len(younger) > 3)
    assert younger[-1] <= 0
