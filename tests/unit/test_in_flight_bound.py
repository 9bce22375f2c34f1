"""A primary that outruns its secondary: what is in flight follows the checkpoints."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from blkcolo_primary.core.in_flight_bound import InFlightBound

_MIB = 1 << 20
_WINDOW, _FLOOR = 32 * _MIB, 2 * _MIB


class _Stream:
    """A VM that fills whatever is let in flight, and a secondary of a given speed."""

    def __init__(self, speed: float, way: float = 0.001, window: int = _WINDOW) -> None:
        self.bound = InFlightBound(window)
        self.speed, self.way = speed, way
        self.now, self.seq = 100.0, 1

    def checkpoint(self, epoch: float, in_flight: int | None = None) -> float:
        """Ends an epoch of so many seconds; how long its barrier took."""
        filled = self.bound.bytes if in_flight is None else in_flight
        self.now += epoch
        self.seq += 1
        self.bound.barrier(self.now, self.seq, filled)
        taken = self.way + filled / self.speed
        self.bound.applied(self.now + taken, self.seq)
        return taken


def test_the_window_is_the_bound_until_the_length_of_an_epoch_is_known() -> None:
    stream = _Stream(speed=100 * _MIB)
    stream.checkpoint(0.05)
    assert stream.bound.bytes == _WINDOW


def test_with_many_checkpoints_their_barriers_take_a_small_part_of_an_epoch() -> None:
    stream = _Stream(speed=1000 * _MIB)
    stream.checkpoint(0.05, in_flight=0)
    assert stream.checkpoint(0.05) > 0.03
    assert [stream.checkpoint(0.05) for _ in range(10)][-1] < 0.005
    assert stream.bound.bytes >= _FLOOR


def test_with_a_checkpoint_a_second_the_window_is_the_bound() -> None:
    stream = _Stream(speed=10 * _MIB)
    for _ in range(10):
        stream.checkpoint(0.05)
    assert _FLOOR <= stream.bound.bytes <= 1.25 * _FLOOR
    for _ in range(10):
        stream.checkpoint(1.0)
    assert stream.bound.bytes == _WINDOW


def test_the_way_there_and_back_is_no_reason_to_let_less_in_flight() -> None:
    stream = _Stream(speed=10_000 * _MIB, way=0.08)
    stream.checkpoint(0.05, in_flight=0)
    for _ in range(10):
        stream.checkpoint(0.05, in_flight=4 * _MIB)
    assert stream.bound.bytes == _WINDOW


def test_a_checkpoint_right_behind_another_does_not_make_epochs_short() -> None:
    stream = _Stream(speed=1000 * _MIB)
    for _ in range(5):
        stream.checkpoint(1.0)
    stream.checkpoint(0.01)
    assert stream.bound.bytes == _WINDOW


def test_when_the_secondary_keeps_up_again_the_bound_rises_to_the_window() -> None:
    stream = _Stream(speed=100 * _MIB)
    for _ in range(10):
        stream.checkpoint(0.05)
    assert _FLOOR <= stream.bound.bytes <= 1.25 * _FLOOR
    stream.speed = 1e12
    for _ in range(20):
        stream.checkpoint(0.05)
    assert stream.bound.bytes == _WINDOW


def test_a_long_way_is_learnt_by_a_vm_that_never_pauses() -> None:
    stream = _Stream(speed=1000 * _MIB, way=0.1)
    for _ in range(60):
        stream.checkpoint(0.2)
    assert stream.bound.bytes >= 4 * _FLOOR


def test_a_way_that_grows_is_learnt_again() -> None:
    stream = _Stream(speed=10_000 * _MIB)
    stream.checkpoint(0.2, in_flight=0)
    for _ in range(20):
        stream.checkpoint(0.2)
    assert stream.bound.bytes == _WINDOW
    stream.way = 0.1
    for _ in range(60):
        stream.checkpoint(0.2)
    assert stream.bound.bytes >= 8 * _FLOOR


def test_when_no_checkpoint_comes_any_more_the_window_is_the_bound() -> None:
    stream = _Stream(speed=10 * _MIB)
    for _ in range(10):
        stream.checkpoint(0.05)
    assert stream.bound.bytes < _WINDOW
    assert not stream.bound.applied(stream.now + 0.2, stream.seq)
    assert stream.bound.applied(stream.now + 0.3, stream.seq)
    assert stream.bound.bytes == _WINDOW


def test_one_late_barrier_halves_it_at_most() -> None:
    stream = _Stream(speed=1e12)
    for _ in range(5):
        stream.checkpoint(0.05)
    stream.speed = _MIB
    stream.checkpoint(0.05)
    assert stream.bound.bytes == _WINDOW // 2


def test_a_late_barrier_with_hardly_anything_before_it_says_nothing() -> None:
    stream = _Stream(speed=1e12)
    for _ in range(5):
        stream.checkpoint(0.05)
    stream.way = 2.0
    stream.checkpoint(0.05, in_flight=4096)
    assert stream.bound.bytes == _WINDOW


def test_the_same_barrier_again_changes_nothing() -> None:
    bound = InFlightBound(_WINDOW)
    bound.barrier(1.0, 5, 0)
    assert not bound.applied(1.01, 5)
    bound.barrier(1.1, 9, _WINDOW)
    bound.barrier(1.12, 9, 0)
    assert not bound.applied(1.15, 8)
    assert bound.applied(1.2, 9)
    assert bound.bytes == _WINDOW // 2
    assert not bound.applied(1.3, 9)


def test_a_barrier_behind_one_that_is_not_applied_is_not_measured() -> None:
    bound = InFlightBound(_WINDOW)
    for seq in (5, 6, 7):
        bound.barrier(float(seq), seq, 0)
    assert bound.applied(8.0, 7)
    assert not bound.applied(9.0, 7)


@given(
    st.integers(_MIB, 64 * _MIB),
    st.lists(
        st.tuples(st.floats(0, 10), st.floats(1, 1e12), st.integers(0, 64 * _MIB))
    ),
)
def test_it_stays_between_its_floor_and_the_window(
    window: int, checkpoints: list[tuple[float, float, int]]
) -> None:
    stream = _Stream(speed=1.0, window=window)
    for epoch, speed, in_flight in checkpoints:
        stream.speed = speed
        stream.checkpoint(epoch, in_flight)
        assert min(window, _FLOOR) <= stream.bound.bytes <= window
