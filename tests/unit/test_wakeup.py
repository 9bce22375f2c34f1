"""Wake-ups: who is woken, when, and what a wait leaves behind."""

from __future__ import annotations

import asyncio

import pytest

from blkcolo.wakeup import Wakeup


async def _waiting(wakeup: Wakeup, timeout: float | None = None) -> asyncio.Task[bool]:
    task = asyncio.create_task(wakeup.wait(timeout))
    await asyncio.sleep(0)
    return task


async def test_all_who_wait_go_on_in_the_next_turn_of_the_loop() -> None:
    wakeup = Wakeup()
    waits = [await _waiting(wakeup), await _waiting(wakeup, 60)]
    wakeup.fire()
    await asyncio.sleep(0)
    assert [wait.done() and wait.result() for wait in waits] == [True, True]


async def test_a_fire_before_the_wait_is_not_remembered() -> None:
    wakeup = Wakeup()
    wakeup.fire()
    assert not await wakeup.wait(0)


async def test_who_waits_again_waits_for_the_next_fire() -> None:
    wakeup = Wakeup()
    first = await _waiting(wakeup)
    wakeup.fire()
    second = await _waiting(wakeup)
    assert await first
    assert not second.done()
    wakeup.fire()
    assert await second


async def test_one_who_leaves_disturbs_nobody_and_nothing_is_kept_of_it() -> None:
    wakeup = Wakeup()
    gone, stays = await _waiting(wakeup), await _waiting(wakeup)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert not await wakeup.wait(0)
    assert len(wakeup._waiting) == 1
    wakeup.fire()
    assert await stays
    assert not wakeup._waiting


async def test_until_looks_again_at_each_fire_and_returns_what_it_found() -> None:
    wakeup, found = Wakeup(), [0]
    looking = asyncio.create_task(wakeup.until(lambda: found[0], 60))
    for _ in range(3):
        await asyncio.sleep(0)
        wakeup.fire()
    await asyncio.sleep(0)
    assert not looking.done()
    found[0] = 7
    wakeup.fire()
    assert await looking == 7
    assert await wakeup.until(lambda: 0, 0) == 0
