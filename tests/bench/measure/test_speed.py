"""What tells how fast a machine is tells it on every machine."""

from __future__ import annotations

from tests.bench.measure import speed


def test_each_of_them_takes_some_time() -> None:
    assert min(speed.now()) > 0
