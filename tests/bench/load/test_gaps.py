"""A stall is seen at its full length, wherever the window lies in it."""

from __future__ import annotations

import pytest

from tests.bench.load.gaps import covers, longest_gap, percentile

#: One every millisecond, but for 500 of them, from 1000 to 1500.
_STALLED = [*range(1001), *range(1500, 2500)]


@pytest.mark.parametrize(
    ("start", "end"),
    [
        pytest.param(950, 1600, id="all of it in the window"),
        pytest.param(1200, 1240, id="around the window"),
        pytest.param(990, 1040, id="ends behind the window"),
        pytest.param(1460, 1510, id="began before the window"),
        pytest.param(1000, 1000, id="begins at a window of no length"),
    ],
)
def test_a_stall_of_half_a_second_is_seen_as_that(start: int, end: int) -> None:
    assert longest_gap(_STALLED, start, end) == 500


def test_without_a_stall_the_longest_gap_is_the_usual_one() -> None:
    assert longest_gap(_STALLED, 100, 140) == 1
    assert longest_gap(_STALLED, 1600, 1640) == 1


def test_completions_at_one_moment_have_no_gap() -> None:
    assert longest_gap([5, 5, 5], 5, 5) == 0


def test_the_longest_of_several_gaps_counts() -> None:
    assert longest_gap([0, 3, 10, 12, 20], 2, 11) == 7


@pytest.mark.parametrize(("start", "end"), [(-1, 10), (2490, 2510), (9000, 9040)])
def test_a_window_that_is_not_covered_is_no_measurement(start: int, end: int) -> None:
    assert not covers(_STALLED, start, end)
    with pytest.raises(ValueError, match=str(start)):
        longest_gap(_STALLED, start, end)


def test_nothing_completed_covers_nothing() -> None:
    assert not covers([], 0, 0)


def test_a_window_that_ends_before_it_starts_is_no_measurement() -> None:
    with pytest.raises(ValueError, match="20"):
        longest_gap(_STALLED, 20, 10)


def test_completions_in_no_order_are_refused() -> None:
    with pytest.raises(ValueError, match="1"):
        longest_gap([0, 5, 2, 9], 1, 8)


def test_a_percentile_is_one_of_the_values() -> None:
    assert percentile([3.0, 1.0, 2.0], 50) == 2.0
    assert percentile(list(range(100)), 99) == 99
    assert percentile([7.0], 99) == 7.0
