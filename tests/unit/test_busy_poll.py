"""When a connection looks for its next request without sleeping, and when it stops."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from blkcolo.nbd.busy_poll import BusyPoll

if TYPE_CHECKING:
    from collections.abc import Callable

#: Microseconds; the poll takes any unit.
LONGEST, SOON, LATE = 100, 40, 250
PASS, TURN = 20, 5


class Loop:
    """A loop in which one turn takes `TURN`; `turns` are those that did not sleep."""

    def __init__(self, longest: int = LONGEST) -> None:
        self.now = 1000
        self.turns = 0
        self._due: list[Callable[[], None]] = []
        self._poll = BusyPoll(longest, self._due.append, lambda: self.now)

    def request(self, wait: int, *, alone: bool = True) -> int:
        """Waits, then answers; gives the turns that were taken while waiting."""
        before, arrives = self.turns, self.now + wait
        while self._due and self.now < arrives:
            self._due.pop()()
            assert len(self._due) <= 1
            self.turns += 1
            self.now += TURN
        self.now = max(self.now, arrives)
        began, self.now = self.now, self.now + PASS
        self._poll.answered(began, self.now, alone=alone)
        return self.turns - before


def test_second_request_soon_behind_a_reply_is_followed_by_polling() -> None:
    loop = Loop()
    assert loop.request(LATE) == 0
    assert loop.request(SOON) == 0  # nobody knew that it would come soon
    assert loop.request(SOON) == SOON // TURN


def test_polling_ends_when_the_next_request_is_late_and_stays_off() -> None:
    loop = Loop()
    for _ in range(3):
        loop.request(SOON)
    assert loop.request(LATE) == LONGEST // TURN + 1
    assert [loop.request(LATE) for _ in range(5)] == [0] * 5


def test_rare_requests_are_never_polled_for() -> None:
    loop = Loop()
    assert [loop.request(LATE) for _ in range(10)] == [0] * 10


@pytest.mark.parametrize("alone", [True, False])
def test_only_a_client_with_one_request_at_a_time_is_polled_for(*, alone: bool) -> None:
    loop = Loop()
    taken = sum(loop.request(SOON, alone=alone) for _ in range(10))
    assert (taken > 0) is alone


def test_requests_that_come_together_end_it_at_once() -> None:
    loop = Loop()
    for _ in range(3):
        loop.request(SOON)
    loop.request(SOON, alone=False)
    assert loop.request(SOON) == 1  # the look that was due finds that out
    assert loop.request(SOON) == 0
    assert loop.request(SOON) == SOON // TURN


def test_zero_seconds_never_poll() -> None:
    loop = Loop(longest=0)
    assert sum(loop.request(SOON) for _ in range(10)) == 0
