"""The index of saved blocks finds what was added, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from blkcolo.extents import BLOCK_SIZE, Blocks
from blkcolo_secondary.buffer.block_index import (
    HOLE,
    LONGEST_RUN,
    ROW_BYTES,
    BlockIndex,
    Run,
)

ROOT = Path(__file__).parents[2]

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


def test_index_is_as_large_as_the_operating_guide_says() -> None:
    """Of single blocks, each far from the next, which cost most."""
    index, count, apart = BlockIndex(), 1 << 17, 17
    first = np.arange(count, dtype=np.int64) * apart
    rows = np.stack((first, first + 1, first * BLOCK_SIZE), axis=1)
    for some in np.array_split(rows, count // 4096):
        index.add(some)
    assert not index._recent
    columns = sum(
        level.first.nbytes + level.length.nbytes + level.position.nbytes
        for level in index._levels
    )
    assert columns == ROW_BYTES * count
    statistics: Any = index.saved.get_statistics()
    membership = sum(n for name, n in statistics.items() if name.startswith("n_bytes"))
    guide = (ROOT / "docs" / "operating.md").read_text()
    told = re.search(r"\((\d+) bytes for each saved run of blocks: (\d+) in", guide)
    assert told is not None
    assert int(told[2]) == ROW_BYTES
    assert round((columns + membership) / count) == int(told[1])
