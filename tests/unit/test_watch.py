"""A look that waits at a group: what ends it, and what it leaves behind."""

from __future__ import annotations

import asyncio
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blkcolo.wakeup import Wakeup
from blkcolo.watch import Terms, Watch

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

    def look(
        self, seconds: float = LONG, left: float = LONG, beat: float = BEAT
    ) -> asyncio.Task[bool]:
        def due() -> bool:
            self.asked += 1
            return self.due

        terms = Terms(seconds, left, beat)
        waits = self.watch.wait(due, lambda: self.told, terms)
        return asyncio.create_task(waits)


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


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
    assert group.asked <= 2, "a beat may have ended meanwhile"
    look.cancel()
    await asyncio.wait([look])


@pytest.mark.parametrize("told", [True, False])
async def test_a_newer_look_ends_the_one_before_it_at_once_and_no_other(
    group: Group, told: bool
) -> None:
    """Before its beat; and not as one whose time is over: nobody watches for it now."""
    group.told = told
    looks = [group.look(beat=LONG)]
    for _ in range(10):
        await turns()
        looks.append(group.look(beat=LONG))
        await turns()
        older, newest = looks[-2:]
        assert older.done()
        assert older.result() is True
        assert not newest.done()
    group.due = True
    group.changed.fire()
    assert await asyncio.wait_for(looks[-1], LONG / 2) is True


@pytest.mark.parametrize("told", [True, False])
async def test_the_end_of_all_looks_is_told_at_once(group: Group, told: bool) -> None:
    group.told = told
    look = group.look(beat=LONG)
    await turns()
    group.changed.fire()  # it waits for the end of a beat by now, in either case
    await turns()
    group.watch.end()
    await turns()
    assert look.done()
    assert look.result() is True
    group.watch.end()  # none is there


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
    changed: list[Group] = []
    known: set[int] = set()
    beat = 0.5

    async def noted(look: asyncio.Task[bool]) -> None:
        await look
        known.add(len(changed))

    clock = asyncio.get_running_loop().time
    began = clock()
    waiting = [asyncio.create_task(noted(each.look(beat=beat))) for each in groups]
    for each in groups:
        await asyncio.sleep(0.005)
        changed.append(each)
        each.due = True
        each.changed.fire()
    await asyncio.wait(waiting)
    assert len(known) <= 2 + (clock() - began) / beat, "one set of answers a beat"


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("beat", [0.0, -1.0, math.nan, math.inf, 1e308])
async def test_whatever_the_beat_a_look_ends_with_its_time_or_sooner(
    group: Group, beat: float, told: bool
) -> None:
    group.told = told
    look = group.look(seconds=0.01, left=0.01, beat=beat)
    assert await asyncio.wait_for(look, LONG / 2) is False
    look = group.look(beat=beat)
    await asyncio.sleep(0)
    group.due = True
    group.changed.fire()
    assert await asyncio.wait_for(look, LONG / 2) is True


anything = st.floats(allow_nan=True, allow_infinity=True)


@given(st.floats(0, 1e6), anything, st.floats(0, 3600), anything)
def test_no_look_is_held_longer_than_its_caller_waits(
    now: float, seconds: float, left: float, beat: float
) -> None:
    over_at = Terms(seconds, left, beat).over_at(now)
    assert now - 1e-6 <= over_at <= now + left


@given(st.floats(0, 1e6), st.floats(0, 60), st.floats(0, 60))
def test_the_time_is_rounded_up_by_a_quarter_of_a_beat_at_most(
    now: float, seconds: float, beat: float
) -> None:
    terms = Terms(seconds, LONG * 2, beat)
    tick = terms.beat_held / 4
    over_at = terms.over_at(now)
    assert -1e-6 <= over_at - (now + seconds) <= tick + 1e-6
    assert over_at / tick == pytest.approx(round(over_at / tick))


def test_looks_that_began_together_end_together() -> None:
    ends = {Terms(1.0, LONG, 0.4).over_at(50.01 + part / 1000) for part in range(80)}
    assert len(ends) == 1
