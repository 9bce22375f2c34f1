"""The age of what is safe, where the wall clock is set back or forward."""

from __future__ import annotations

import pytest

from blkcolo_coordinator.core.recovery_point import RecoveryPoint

_DAY = 86400.0


def test_age_is_unknown_before_the_first_checkpoint() -> None:
    point = RecoveryPoint(0.0, wall=1e9, steady=50.0)
    point.nothing_written(60.0)
    assert point.age(60.0) is None
    assert point.committed_age(60.0) is None


def test_age_counts_from_the_commit_and_no_jump_of_the_wall_clock_counts() -> None:
    point = RecoveryPoint(0.0, wall=1e9, steady=50.0)
    point.moved(1e9 + 1, wall=1e9 + 1, steady=51.0)
    assert point.age(58.0) == 7.0
    point.nothing_written(57.0)
    assert (point.age(58.0), point.committed_age(58.0)) == (1.0, 7.0)


def test_one_that_comes_late_takes_nothing_back() -> None:
    point = RecoveryPoint(1e9, wall=1e9 + 5, steady=100.0)
    point.nothing_written(50.0)
    assert point.age(100.0) == 5.0


@pytest.mark.parametrize(("set_by", "age"), [(-_DAY, 0.0), (0.0, 30.0), (5.0, 35.0)])
def test_behind_a_restart_it_begins_with_what_the_wall_clock_says_and_then_grows(
    set_by: float, age: float
) -> None:
    point = RecoveryPoint(1e9, wall=1e9 + 30 + set_by, steady=10.0)
    assert point.age(10.0) == age
    assert point.age(25.0) == age + 15.0
