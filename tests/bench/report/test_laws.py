"""Points of a known law give that law back, and noise gives none."""

from __future__ import annotations

import random

import pytest

from tests.bench.report.laws import law

_MANY = (0, 250, 500, 1000, 2000, 4000, 8000, 16000)


def test_points_on_a_line_give_its_start_and_slope() -> None:
    found = law([(x, 2 + 0.5 * x) for x in (1, 10, 40, 100)])
    assert (found.start, found.slope) == pytest.approx((2, 0.5))
    assert found.knee is None
    assert found.explained == pytest.approx(1)


def test_points_with_a_knee_give_both_slopes_and_where_they_meet() -> None:
    found = law(
        [(x, 1 + 0.01 * min(x, 2000) + 0.001 * max(0, x - 2000)) for x in _MANY]
    )
    assert (found.start, found.slope, found.beyond) == pytest.approx((1, 0.01, 0.001))
    assert found.knee == 2000
    assert found.at(3000) == pytest.approx(22)
    assert found.explained == pytest.approx(1)


def test_few_points_give_no_knee() -> None:
    found = law([(0, 0), (1, 10), (2, 16), (3, 19)])
    assert found.knee is None
    assert 0.9 < found.explained < 0.98


def test_what_differs_by_less_than_a_tenth_is_flat() -> None:
    found = law([(64, 47.1), (512, 47.2), (4096, 47.3), (16384, 47.4)])
    assert found.flat
    assert found.steady
    assert (found.start, found.low, found.high) == (47.25, 47.1, 47.4)


def test_what_goes_up_and_down_has_no_trend() -> None:
    found = law([(0, 1), (1, 3), (2, 1), (3, 3)])
    assert found.flat
    assert not found.steady


def test_what_is_always_the_same_is_flat() -> None:
    assert law([(0, 2), (1, 2), (2, 2)]).steady


@pytest.mark.parametrize("count", [3, 4, 5, 8])
def test_noise_gives_a_law_once_in_ten_times_at_most(count: int) -> None:
    dice = random.Random(1)  # noqa: S311 - test data
    sets = 500
    found = [
        law([(x, dice.uniform(80, 120)) for x in _MANY[:count]]) for _ in range(sets)
    ]
    assert sum(not each.flat for each in found) < 0.1 * sets
