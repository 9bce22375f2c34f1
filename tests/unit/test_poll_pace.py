"""Quiet groups are looked at seldom, busy ones in every interval; all on one beat."""

from __future__ import annotations

import pytest

from blkcolo_coordinator.core.poll_pace import PollPace


def test_a_group_that_stays_as_it_was_is_looked_at_less_and_less_often() -> None:
    pace = PollPace()
    found = [pace.next(7, 1, "same", None) for _ in range(8)]
    assert found == [1, 2, 4, 8, 16, 16, 16, 16]


def test_a_change_brings_the_shortest_interval_back() -> None:
    pace = PollPace()
    for _ in range(5):
        pace.next(7, 1, "same", None)
    assert pace.next(7, 1, "other", None) == 1


def test_a_checkpoint_that_is_due_is_not_late() -> None:
    pace = PollPace()
    for _ in range(5):
        pace.next(7, 1, "same", None)
    assert pace.next(7, 1, "same", 3) == 3
    assert pace.next(7, 1, "same", -2) == 1


@pytest.mark.parametrize("took", [0.01, 0.2, 0.49])
def test_a_look_that_takes_a_while_is_followed_by_one_on_the_beat(took: float) -> None:
    """Two groups, one slower than the other, begin their next looks together."""
    assert 7 + took + PollPace().next(7 + took, 1, "seen", None) == pytest.approx(8)


@pytest.mark.parametrize(("due_in", "at"), [(1.6, 9.0), (1.7, 9.0), (2.1, 9.5)])
def test_what_is_due_between_two_beats_waits_for_the_next_and_is_never_early(
    due_in: float, at: float
) -> None:
    pace = PollPace()
    for _ in range(5):
        pace.next(7, 1, "same", None)
    assert 7.2 + pace.next(7.2, 1, "same", due_in) == pytest.approx(at)
