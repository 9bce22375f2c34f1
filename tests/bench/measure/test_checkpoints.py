"""What checkpoints cost is told at both loads, and judged at full load."""

from __future__ import annotations

from array import array

from blkcolo.v1 import coordinator_pb2 as pb
from tests.bench.measure.checkpoints import AtLoad, Call, side_by_side

_MS = 1_000_000
_TIMINGS = pb.CheckpointTimings(total_seconds=0.003, do_secondary_seconds=0.001)


def _at_load(writes: int, stall_ms: int) -> AtLoad:
    """A second in which all writes come at once, but for a stall in its midst."""
    found = AtLoad()
    step = 1000 * _MS // writes
    steady = array("q", range(0, 1000 * _MS + 1, step))
    start, end = 500 * _MS, (500 + stall_ms) * _MS
    held_up = array("q", [at for at in steady if not start < at < end])
    ticks = range(0, 900 * _MS, 50 * _MS)
    found.without.add(steady, ticks, [])
    call = Call(start, start + 4 * _MS, 7, _TIMINGS)
    found.during.add(held_up, ticks, [call])
    return found


def test_the_same_figures_stand_side_by_side_at_their_units() -> None:
    full, paced = _at_load(2000, stall_ms=100), _at_load(1000, stall_ms=20)
    grid = side_by_side(full.figures(), paced.figures(), 1000)
    longest = grid.cells["longest gap with checkpoints, p99, ms"]
    assert longest == {"full load": 100, "paced at 1,000 writes/s": 20}
    assert grid.cells["duration of a checkpoint under load, p50, ms"] == {
        "full load": 4,
        "paced at 1,000 writes/s": 4,
    }


def test_a_stall_counts_at_its_full_length_however_few_writes_it_held_up() -> None:
    figures = {each.what: each for each in _at_load(100, stall_ms=100).figures()}
    stall = figures[
        "stall around a checkpoint: p99 of the gaps with, less that without"
    ]
    assert stall.reached == 90
    assert stall.met is False
