"""Writes are due by the clock alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.bench.load.pace import Pace

_MS = 1_000_000
_MANY = 1 << 40


@given(st.floats(0.1, 1e6), st.integers(0, 10**6))
def test_a_write_is_due_at_its_time_and_not_before(rate: float, number: int) -> None:
    pace = Pace(5, rate)
    assert pace.due(pace.at(number) + 1) > number
    if number:
        assert pace.due(pace.at(number) - 2) <= number


def test_what_was_not_sent_during_a_stall_is_due_behind_it() -> None:
    pace = Pace(0, 1000)
    sent = pace.due(10 * _MS)
    assert pace.due(510 * _MS) - sent == 500


def test_without_a_rate_each_write_is_due_at_once() -> None:
    pace = Pace(7)
    assert pace.due(7) > _MANY
    assert pace.at(_MANY) == 7
