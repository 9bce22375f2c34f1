"""Reads blocks of a disk that are to be saved, as runs of data and of zeros.

Columns instead of an object a run: thousands of 4 KiB blocks are saved each second.
What reads as zeros is not stored. Most blocks are told from zeros by their first
word; only long runs are looked up in the file's allocation before they are read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from blkcolo.extents import BLOCK_SIZE, Blocks
from blkcolo_secondary.buffer.block_index import HOLE, LONGEST_RUN

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pyroaring import BitMap

    from blkcolo.storage.files import BlockFile

#: One run of blocks, as in the log.
ROW = np.dtype([("first", "<u4"), ("end", "<u4"), ("stored", "<u4")])
#: Rows of ROW.
Rows = np.ndarray[tuple[int], np.dtype[np.void]]

#: From this many blocks on a run is looked up before it is read.
_LONG_RUN = 256
_WORDS = BLOCK_SIZE // 8


def read(disk: BlockFile, blocks: BitMap, size: int) -> tuple[Rows, memoryview]:
    """Reads blocks of a disk of `size` bytes.

    Returns:
        The runs in order, and the bytes of the stored ones, in whole blocks.

    Raises:
        OSError: the disk could not be read.
    """
    numbers = np.asarray(blocks.to_array(), dtype=np.uint32)
    is_zero = np.zeros(len(numbers), dtype=np.bool_)
    words = np.empty((len(numbers), _WORDS), np.uint64)
    view = _bytes_of(words)
    at = 0
    for first, end in runs(numbers):
        length = (end - first) * BLOCK_SIZE
        target = view[at * BLOCK_SIZE : at * BLOCK_SIZE + length]
        if end - first < _LONG_RUN:
            disk.read_into(first * BLOCK_SIZE, target)
        else:
            _read_data(disk, Blocks(first, end), size, target)
        at += end - first
    suspects = np.flatnonzero(words[:, 0] == 0)
    is_zero[suspects] = ~words[suspects].any(axis=1)
    stored = words[~is_zero] if is_zero.any() else words
    return _rows(numbers, is_zero), _bytes_of(stored)


def _bytes_of(words: NDArray[np.uint64]) -> memoryview:
    return words.reshape(-1).view(np.uint8).data


def _read_data(disk: BlockFile, blocks: Blocks, size: int, target: memoryview) -> None:
    """Reads what is allocated of a long run; the rest is zero."""
    start = done = blocks.first * BLOCK_SIZE
    end = start + len(target)
    for extent in disk.data_extents(*blocks.extent(size)):
        target[done - start : extent.offset - start] = bytes(extent.offset - done)
        disk.read_into(
            extent.offset, target[extent.offset - start : extent.end - start]
        )
        done = extent.end
    target[done - start :] = bytes(end - done)


def runs(numbers: NDArray[np.uint32]) -> list[tuple[int, int]]:
    """Sorted block numbers as runs (first, end)."""
    breaks = np.flatnonzero(numbers[1:] - numbers[:-1] != 1) + 1
    firsts = numbers[np.concatenate(([0], breaks))]
    ends = numbers[np.concatenate((breaks, [len(numbers)])) - 1] + 1
    return list(zip(firsts.tolist(), ends.tolist(), strict=True))


def _rows(numbers: NDArray[np.uint32], is_zero: NDArray[np.bool_]) -> Rows:
    """Runs of blocks that are all stored, or all zeros."""
    broken = (numbers[1:] - numbers[:-1] != 1) | (is_zero[1:] != is_zero[:-1])
    starts = np.concatenate(([0], np.flatnonzero(broken) + 1))
    rows = np.empty(len(starts), ROW)
    rows["first"] = numbers[starts]
    rows["end"] = numbers[np.concatenate((starts[1:], [len(numbers)])) - 1] + 1
    rows["stored"] = ~is_zero[starts]
    return rows


def fit(rows: Rows, blocks: int, payload_length: int) -> bool:
    """True if rows lie in a volume of so many blocks, and fill such a payload."""
    first, end = rows["first"].astype(np.int64), rows["end"].astype(np.int64)
    stored = int(((end - first) * (rows["stored"] != 0)).sum())
    return bool(
        len(rows)
        and (first < end).all()
        and end.max() <= blocks
        and (end - first).max() <= LONGEST_RUN
        and rows.nbytes + stored * BLOCK_SIZE == payload_length
    )


def positions(rows: Rows, data_at: int) -> NDArray[np.int64]:
    """Rows as the index takes them: first, end, position of the bytes, or HOLE.

    Args:
        rows: the runs of one record.
        data_at: where the bytes of the first stored one are.
    """
    found = np.empty((len(rows), 3), np.int64)
    found[:, 0], found[:, 1] = rows["first"], rows["end"]
    stored = rows["stored"] != 0
    lengths = np.where(stored, found[:, 1] - found[:, 0], 0) * BLOCK_SIZE
    found[:, 2] = np.where(stored, data_at + np.cumsum(lengths) - lengths, HOLE)
    return found
