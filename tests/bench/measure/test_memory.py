"""A leak has a slope, whatever the queues do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.bench.measure import memory
from tests.bench.report.findings import Panel

if TYPE_CHECKING:
    from tests.bench.report.findings import Finding


def _judged(**lines: memory.Points) -> list[Finding]:
    return memory.judged(Panel("Memory", "seconds", "MiB", dict(lines)), 600)


def _with_goal(found: list[Finding]) -> list[Finding]:
    return [each for each in found if each.goal is not None]


def test_memory_that_rises_has_a_slope_and_is_not_flat() -> None:
    steady = [(float(x), 50.0 + x % 3) for x in range(600)]
    rising = [(float(x), 50 + x / 60 + x % 3) for x in range(600)]
    slopes = _with_goal(_judged(a=steady, b=rising))
    assert [each.met for each in slopes] == [True, True, False, False]
    assert [each.reached for each in slopes[2:]] == pytest.approx([1, 1], rel=0.05)
    assert slopes[2].what == "b: slope of the line behind the first fifth, 8.0 minutes"


def test_a_queue_that_fills_late_raises_the_slope_and_not_the_lows() -> None:
    line = [(float(x), 80.0 if x > 500 and x % 5 else 50.0) for x in range(600)]
    assert [each.met for each in _with_goal(_judged(a=line))] == [False, True]


def test_memory_that_rises_first_has_a_slope_over_all_and_none_over_the_last_half() -> (
    None
):
    line = [(float(x), 50.0 + min(x, 280) / 60) for x in range(600)]
    reached = {each.what: each.reached for each in _judged(a=line)}
    assert reached["a: slope of the line over the whole run, 10.0 minutes"] > 0.25
    assert reached["a: slope of the line over the last half, 5.0 minutes"] == 0


@pytest.mark.parametrize(
    ("held_up", "met"), [(range(200, 210), True), (range(200, 400), False)]
)
def test_run_that_was_held_up_says_so(held_up: range, met: bool) -> None:
    line = [(float(x), 50.0) for x in range(600) if x not in held_up]
    gap = memory.longest_gap(Panel("Memory", "seconds", "MiB", {"a": line}), 600)
    assert (gap.reached, gap.met) == (len(held_up) + 1, met)


def test_slope_that_hangs_on_one_moment_has_a_spread_that_says_so() -> None:
    steady = [(float(x), 50.0 + x / 60) for x in range(600)]
    late = [(float(x), 80.0 if x > 580 else 50.0) for x in range(600)]
    slopes = {each.what[0]: each for each in _with_goal(_judged(a=steady, b=late))[::2]}
    assert slopes["a"].spread == pytest.approx((1, 1))
    assert slopes["b"].spread is not None
    low, high = slopes["b"].spread
    assert low < 0.1
    assert 0.4 < slopes["b"].reached < high
