"""What checkpoints cost is told at both loads, and judged at full load."""

from __future__ import annotations

from array import array

from blkcolo.v1 import coordinator_pb2 as pb
from tests.bench.measure.checkpoints import Call, Observed, Round, over, side_by_side

_MS = 1_000_000
_TIMINGS = pb.CheckpointTimings(total_seconds=0.003, do_secondary_seconds=0.001)


def _round(writes: int, stall_ms: int) -> Round:
    """A second in which all writes come at once, but for a stall in its midst."""
    step = 1000 * _MS // writes
    steady = array("q", range(0, 1000 * _MS + 1, step))
    start, end = 500 * _MS, (500 + stall_ms) * _MS
    held_up = array("q", [at for at in steady if not start < at < end])
    ticks = range(0, 900 * _MS, 50 * _MS)
    call = Call(start, start + 4 * _MS, 7, _TIMINGS)
    return Round(Observed.of(steady, ticks, []), Observed.of(held_up, ticks, [call]))


def test_the_same_figures_stand_side_by_side_at_their_units() -> None:
    full, paced = _round(2000, stall_ms=100), _round(1000, stall_ms=20)
    grid = side_by_side(full.figures(), paced.figures(), 1000)
    longest = grid.cells["longest gap with checkpoints, p99, ms"]
    assert longest == {"full load": 100, "paced at 1,000 writes/s": 20}
    assert grid.cells["duration of a checkpoint under load, p50, ms"] == {
        "full load": 4,
        "paced at 1,000 writes/s": 4,
    }


def test_a_stall_counts_at_its_full_length_however_few_writes_it_held_up() -> None:
    figures = {each.what: each for each in _round(100, stall_ms=100).figures()}
    stall = figures[
        "stall around a checkpoint: p99 of the gaps with, less that without"
    ]
    assert stall.reached == 90
    assert stall.met is False


def test_over_several_rounds_a_figure_is_their_median_and_has_their_spread() -> None:
    stall, *_ = over([_round(100, stall_ms=each) for each in (30, 100, 50)])
    assert (stall.reached, stall.spread) == (40, (20, 90))
