"""Which blocks an undo layer holds, and where: a log-structured index.

A block is saved at most once a layer, so runs never overlap. Membership is a
roaring bitmap; positions are sorted columns (`ROW_BYTES`) in levels that double in
size (as in an LSM tree) up to a bound that keeps one merge to milliseconds. A dict
would take five times as much memory, and a layer may hold millions of blocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from pyroaring import BitMap

from blkcolo.extents import Blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

#: Bytes of a run in its columns.
ROW_BYTES = 4 + 2 + 8
#: Position of a run that read as zeros: nothing was stored.
HOLE = -1

_RECENT = 2048
_LARGEST_LEVEL = 1 << 16
#: The longest run, in blocks.
LONGEST_RUN = (1 << 16) - 1
#: Rows turned into objects at a time.
_ROWS = 4096


class Run(NamedTuple):
    """Saved blocks [first, end) whose content starts at byte `position`, or HOLE."""

    first: int
    end: int
    position: int

    def cut(self, blocks: Blocks, block_size: int) -> Run:
        """The part of the run within `blocks`."""
        first, end = max(self.first, blocks.first), min(self.end, blocks.end)
        skipped = (first - self.first) * block_size
        position = HOLE if self.position == HOLE else self.position + skipped
        return Run(first, end, position)


def present(bitmap: BitMap, blocks: Blocks) -> Iterator[Blocks]:
    """The runs of `blocks` that are in the bitmap."""
    yield from _alternate(bitmap, blocks, inside=True)


def absent(bitmap: BitMap, blocks: Blocks) -> Iterator[Blocks]:
    """The runs of `blocks` that are not in the bitmap."""
    yield from _alternate(bitmap, blocks, inside=False)


def _alternate(bitmap: BitMap, blocks: Blocks, *, inside: bool) -> Iterator[Blocks]:
    first, end = blocks
    count = bitmap.range_cardinality(first, end)
    if count in (0, end - first):  # the common cases: none of it, or all
        if (count != 0) is inside:
            yield blocks
        return
    marked = (bitmap & BitMap(range(first, end))).to_array()
    columns = np.asarray(marked, dtype=np.int64)
    breaks = np.flatnonzero(np.diff(columns) > 1) + 1
    starts = columns[np.concatenate(([0], breaks))]
    ends = columns[np.concatenate((breaks - 1, [len(columns) - 1]))] + 1
    if inside:
        for start, stop in zip(starts.tolist(), ends.tolist(), strict=True):
            yield Blocks(start, stop)
        return
    gap = first
    for start, stop in zip(starts.tolist(), ends.tolist(), strict=True):
        if start > gap:
            yield Blocks(gap, start)
        gap = stop
    if gap < end:
        yield Blocks(gap, end)


class _Level:
    """Runs as columns, sorted by their first block."""

    def __init__(
        self,
        first: NDArray[np.uint32],
        length: NDArray[np.uint16],
        position: NDArray[np.int64],
    ) -> None:
        """Takes the columns, in any order."""
        order = np.argsort(first, kind="stable")
        self.first = first[order]
        self.length = length[order]
        self.position = position[order]

    @classmethod
    def of(cls, parts: list[NDArray[np.int64]]) -> _Level:
        """Takes rows of first, end, position."""
        rows = np.concatenate(parts)
        first, length = rows[:, 0], rows[:, 1] - rows[:, 0]
        return cls(first.astype(np.uint32), length.astype(np.uint16), rows[:, 2])

    def merged(self, other: _Level) -> _Level:
        """The runs of both; column by column, since a level may be large."""
        return _Level(
            np.concatenate((self.first, other.first)),
            np.concatenate((self.length, other.length)),
            np.concatenate((self.position, other.position)),
        )

    def __len__(self) -> int:
        return len(self.first)

    def runs(self, start: int, stop: int) -> Iterator[Run]:
        columns = (self.first, self.length, self.position)
        rows = zip(*(column[start:stop].tolist() for column in columns), strict=True)
        for first, length, position in rows:
            yield Run(first, first + length, position)

    def _end(self, row: int) -> int:
        return int(self.first[row]) + int(self.length[row])

    def overlapping(self, blocks: Blocks) -> Iterator[Run]:
        start = int(np.searchsorted(self.first, blocks.first, side="right"))
        if start and self._end(start - 1) > blocks.first:
            start -= 1
        stop = int(np.searchsorted(self.first, blocks.end, side="left"))
        yield from self.runs(start, stop)


class BlockIndex:
    """The saved blocks of one volume in one layer."""

    def __init__(self) -> None:
        self.saved = BitMap()
        #: Rows not yet in a level, as they came.
        self._recent: list[NDArray[np.int64]] = []
        self._recent_rows = 0
        #: The same rows once they were looked for.
        self._recent_level: _Level | None = None
        self._levels: list[_Level] = []

    def add(self, rows: NDArray[np.int64]) -> None:
        """Adds runs that overlap no other: n rows of first, end, position."""
        singles = rows[:, 1] - rows[:, 0] == 1
        self.saved |= BitMap(rows[singles, 0].astype(np.uint32))
        for first, end, _ in rows[~singles].tolist():
            self.saved.add_range(first, end)
        self._recent.append(rows)
        self._recent_rows += len(rows)
        self._recent_level = None
        if self._recent_rows >= _RECENT:
            self._spill()

    def find(self, blocks: Blocks) -> list[Run]:
        """The saved runs that overlap `blocks`, by their first block."""
        if not self.saved.range_cardinality(blocks.first, blocks.end):
            return []
        found: list[Run] = []
        if self._recent and self._recent_level is None:
            self._recent_level = _Level.of(self._recent)
        for level in (*self._levels, self._recent_level):
            if level is not None:
                found.extend(level.overlapping(blocks))
        found.sort()
        return found

    def runs(self) -> Iterator[Run]:
        """All runs, in no order."""
        for level in self._levels:
            for start in range(0, len(level), _ROWS):
                yield from level.runs(start, start + _ROWS)
        for rows in self._recent:
            for first, end, position in rows.tolist():
                yield Run(first, end, position)

    def _spill(self) -> None:
        level = self._recent_level or _Level.of(self._recent)
        self._recent, self._recent_rows, self._recent_level = [], 0, None
        while (
            self._levels
            and len(self._levels[-1]) <= 2 * len(level)
            and len(level) + len(self._levels[-1]) <= _LARGEST_LEVEL
        ):
            level = self._levels.pop().merged(level)
        self._levels.append(level)
