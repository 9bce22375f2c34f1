"""The index of saved blocks finds what was added, and nothing else."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from blkcolo.extents import BLOCK_SIZE, Blocks
from blkcolo_secondary.buffer.block_index import HOLE, LONGEST_RUN, BlockIndex, Run

#: Gaps before runs and their lengths, small and as large as they get.
_RUNS = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 3, 100_000, 1 << 28]),
        st.sampled_from([1, 1, 2, 700, LONGEST_RUN]),
        st.booleans(),
    ),
    min_size=1,
    max_size=12,
)


def laid_out(parts: list[tuple[int, int, bool]]) -> list[Run]:
    runs, at, position = [], 0, 36
    for gap, length, is_hole in parts:
        at += gap
        runs.append(Run(at, at + length, HOLE if is_hole else position))
        at, position = at + length, position + length * BLOCK_SIZE
    return runs


@given(_RUNS, st.integers(1, 5), st.data())
def test_finds_the_runs_that_overlap_and_no_other(
    parts: list[tuple[int, int, bool]], step: int, data: st.DataObject
) -> None:
    runs = laid_out(parts)
    order = data.draw(st.permutations(runs))
    index = BlockIndex()
    for start in range(0, len(order), step):
        index.add(np.array(order[start : start + step], dtype=np.int64))
        if data.draw(st.booleans()):
            index._spill()
    edges = sorted({edge for run in runs for edge in (run.first, run.end)})
    first = data.draw(st.sampled_from(edges)) + data.draw(st.integers(0, 1))
    wanted = Blocks(first, first + data.draw(st.sampled_from([1, 2, 1000, 1 << 29])))
    expected = [r for r in runs if r.first < wanted.end and wanted.first < r.end]
    assert index.find(wanted) == expected
    assert sorted(index.runs()) == runs
