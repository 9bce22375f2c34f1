"""A look that waits at a group: what ends it, and what it leaves behind."""

from __future__ import annotations

import asyncio
import math

import pytest

from blkcolo.wakeup import Wakeup
from blkcolo.watch import Watch

BEAT = 0.02
LONG = 60.0


class Group:
    """A group that has something to do, or has not."""

    def __init__(self) -> None:
        self.changed = Wakeup()
        self.watch = Watch(self.changed)
        self.due = False
        self.told = True
        self.asked = 0

    def look(self, seconds: float = LONG, beat: float = BEAT) -> asyncio.Task[bool]:
        def due() -> bool:
            self.asked += 1
            return self.due

        waits = self.watch.wait(due, lambda: self.told, seconds, beat)
        return asyncio.create_task(waits)


@pytest.fixture
async def group() -> Group:
    return Group()


async def test_what_is_there_already_is_answered_at_once(group: Group) -> None:
    group.due = True
    assert await group.look() is True


async def test_what_is_told_is_answered_on_the_next_beat(group: Group) -> None:
    look = group.look()
    await asyncio.sleep(0)
    group.due = True
    group.changed.fire()
    assert await asyncio.wait_for(look, LONG / 2) is True


async def test_what_is_not_told_is_found_on_a_beat(group: Group) -> None:
    group.told = False
    look = group.look()
    await asyncio.sleep(0)
    group.due = True
    assert await asyncio.wait_for(look, LONG / 2) is True


async def test_the_end_of_its_time_is_told_from_something_to_do(group: Group) -> None:
    assert await group.look(seconds=0.05) is False
    assert await group.look(seconds=0.0) is False
    assert await group.look(seconds=math.nan) is False


async def test_a_quiet_group_is_not_looked_at_before_it_is_told(group: Group) -> None:
    look = group.look(seconds=10 * BEAT)
    assert await look is False
    assert group.asked <= 3, "on each of ten beats otherwise"


async def test_a_thousand_writes_in_a_beat_cost_one_look(group: Group) -> None:
    look = group.look(beat=LONG)
    await asyncio.sleep(0)
    for _ in range(1000):
        group.changed.fire()
        await asyncio.sleep(0)
    assert group.asked == 1
    look.cancel()
    await asyncio.wait([look])


async def test_a_newer_look_ends_the_one_before_it_and_no_other(group: Group) -> None:
    looks = [group.look()]
    for _ in range(10):
        await asyncio.sleep(0)
        looks.append(group.look())
        older, newest = looks[-2:]
        assert await asyncio.wait_for(older, LONG / 2) is False
        assert not newest.done()
    group.due = True
    group.changed.fire()
    assert await asyncio.wait_for(looks[-1], LONG / 2) is True


async def test_one_whose_caller_is_gone_leaves_nothing_behind(group: Group) -> None:
    for told in (True, False):
        group.told = told
        look = group.look()
        await asyncio.sleep(0)
        look.cancel()
        await asyncio.wait([look])
        assert look.cancelled()
        assert group.watch._newest is None
        assert not group.changed._waiting


async def test_looks_at_several_groups_are_answered_in_the_same_turn() -> None:
    """However far apart their groups changed: so the answers share a message."""
    groups = [Group() for _ in range(20)]
    turns: list[int] = []
    turn = 0

    async def noted(look: asyncio.Task[bool]) -> None:
        await look
        turns.append(turn)

    waiting = [asyncio.create_task(noted(each.look(beat=0.2))) for each in groups]
    for each in groups:
        await asyncio.sleep(0)
        each.due = True
        each.changed.fire()
    while not all(each.done() for each in waiting):
        await asyncio.sleep(0.001)
        turn += 1
    assert len(set(turns)) <= 4, "on one beat, or on two: not in twenty turns"


@pytest.mark.parametrize("beat", [0.0, -1.0, math.nan])
async def test_a_beat_that_is_none_is_a_short_one(group: Group, beat: float) -> None:
    group.told = False
    look = group.look(beat=beat)
    await asyncio.sleep(0)
    group.due = True
    assert await asyncio.wait_for(look, LONG / 2) is True
