"""Each volume gets its part of the writes; what was late is told."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

import pytest

from tests.bench.load import in_turn

if TYPE_CHECKING:
    from tests.nbd_client import NbdClient


class _Volume:
    """Answers a write in so many seconds."""

    size = 1 << 20

    def __init__(self, seconds: float = 0) -> None:
        self.offsets: list[int] = []
        self._seconds = seconds

    def write(self, offset: int, data: bytes) -> None:
        assert offset % len(data) == 0
        assert offset + len(data) <= self.size
        self.offsets.append(offset)
        time.sleep(self._seconds)


def _write(volumes: list[_Volume], rate: float, seconds: float) -> float:
    return in_turn.write(cast("list[NbdClient]", volumes), rate, seconds)


def test_volumes_are_written_to_in_turn() -> None:
    volumes = [_Volume() for _ in range(3)]
    share = _write(volumes, rate=300, seconds=0.2)
    counts = [len(each.offsets) for each in volumes]
    assert share == pytest.approx(sum(counts) / 60)
    assert max(counts) - min(counts) <= 1
    assert min(counts) > 0


def test_writes_that_were_due_and_not_made_are_told() -> None:
    assert _write([_Volume(seconds=0.05)], rate=1000, seconds=0.2) < 0.1
