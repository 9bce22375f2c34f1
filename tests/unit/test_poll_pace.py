"""Quiet groups are looked at seldom, busy ones in every interval."""

from __future__ import annotations

from blkcolo_coordinator.core.poll_pace import PollPace


def test_a_group_that_stays_as_it_was_is_looked_at_less_and_less_often() -> None:
    pace = PollPace()
    found = [pace.next(1, "same", None) for _ in range(8)]
    assert found == [1, 2, 4, 8, 16, 16, 16, 16]


def test_a_change_brings_the_shortest_interval_back() -> None:
    pace = PollPace()
    for _ in range(5):
        pace.next(1, "same", None)
    assert pace.next(1, "other", None) == 1


def test_a_checkpoint_that_is_due_is_not_late() -> None:
    pace = PollPace()
    for _ in range(5):
        pace.next(1, "same", None)
    assert pace.next(1, "same", 3) == 3
    assert pace.next(1, "same", -2) == 1
