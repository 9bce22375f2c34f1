"""Which checkpoints stay: by count, age and bytes; never the base, nor what is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blkcolo_secondary.record.group_journal import Checkpoint
from blkcolo_secondary.record.history import HistoryPolicy, prune

#: Checkpoints 1 to 9, one a second; each epoch's undo is as many bytes as its number.
HISTORY = tuple(Checkpoint(epoch, float(epoch)) for epoch in range(1, 10))


def undo_bytes(above: int, up_to: int) -> int:
    return sum(range(above + 1, up_to + 1))


def kept(policy: HistoryPolicy, in_use: tuple[int, ...] = ()) -> list[int]:
    left = prune(HISTORY, policy, 10.0, undo_bytes, in_use)
    return [checkpoint.epoch for checkpoint in left]


@pytest.mark.parametrize(
    ("policy", "epochs"),
    [
        (HistoryPolicy(), [9]),
        (HistoryPolicy(keep=2), [7, 8, 9]),
        (HistoryPolicy(keep=9, max_age_seconds=4.0), [6, 7, 8, 9]),
        (HistoryPolicy(keep=9, max_bytes=17), [7, 8, 9]),
        (HistoryPolicy(keep=9, max_bytes=1), [9]),
        (HistoryPolicy(keep=9, max_age_seconds=0.5), [9]),
    ],
)
def test_oldest_go_first_at_any_bound(policy: HistoryPolicy, epochs: list[int]) -> None:
    assert kept(policy) == epochs


def test_what_is_read_stays_and_what_leads_to_it() -> None:
    assert kept(HistoryPolicy(keep=1), in_use=(4,)) == [4, 5, 6, 7, 8, 9]


@given(
    st.builds(
        HistoryPolicy,
        keep=st.integers(0, 9),
        max_age_seconds=st.floats(0, 12),
        max_bytes=st.integers(0, 60),
    ),
    st.sets(st.integers(1, 9)),
)
def test_committed_and_read_ones_stay_whatever_the_bounds(
    policy: HistoryPolicy, in_use: set[int]
) -> None:
    left = kept(policy, tuple(in_use))
    assert left == list(range(left[0], 10))
    assert in_use <= set(left)
