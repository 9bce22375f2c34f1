"""How much one mark of the intent log covers: never less than the write."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from blkcolo.extents import Extent
from blkcolo.intent.file import Base
from blkcolo.intent.log import IntentLog
from tests.memory_files import MemoryFolder

REGION = 64 << 10
SIZE = 128 * REGION + 1000


def fresh(folder: MemoryFolder) -> IntentLog:
    log = IntentLog(folder, "vm", [SIZE], REGION)
    log.finish_clear(Base("copy", 5), durable=False)
    return log


def test_sequential_writes_pay_once_a_mebibyte() -> None:
    log = fresh(MemoryFolder())
    paid = [log.mark(6, 0, offset, 4096) for offset in range(0, SIZE - 4096, 4096)]
    assert sum(paid) == 1 + 8  # the first region, then 16 regions and the one met


def test_scattered_writes_mark_only_their_regions() -> None:
    log = fresh(MemoryFolder())
    for region in range(0, 120, 3):
        assert log.mark(6, 0, region * REGION + 100, 4096)
    assert log.dirty()[0] == [
        Extent(region * REGION, REGION) for region in range(0, 120, 3)
    ]


@given(st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(1, 3 * REGION))))
def test_every_write_is_marked_and_no_mark_leaves_the_volume(
    writes: list[tuple[int, int]],
) -> None:
    folder = MemoryFolder()
    log = fresh(folder)
    for offset, length in writes:
        log.mark(6, 0, offset, min(length, SIZE - offset))
    again = IntentLog(folder, "vm", [SIZE], REGION)
    assert again.dirty() == log.dirty()
    extents = log.dirty()[0]
    for offset, length in writes:
        end = min(offset + length, SIZE)
        assert any(e.offset <= offset and end <= e.end for e in extents)
    assert all(e.end <= SIZE for e in extents)


def test_what_was_marked_ahead_and_not_written_is_cleared_by_the_next_commit() -> None:
    log = fresh(MemoryFolder())
    for offset in (0, REGION):
        log.mark(6, 0, offset, 4096)
    assert log.dirty_bytes == 18 * REGION
    log.committed(6, Base("copy", 6))
    log.start_clear()
    log.finish_clear(Base("copy", 6), durable=False)
    assert log.dirty_bytes == 0
    assert log.mark(7, 0, 5 * REGION, 4096)


def test_a_sync_that_ends_makes_durable_only_what_it_began_with() -> None:
    log = fresh(MemoryFolder())
    log.mark(6, 0, 0, 100)
    older = log.start_sync()
    log.mark(6, 0, 5 * REGION, 100)
    newer = log.start_sync()
    log.end_sync(older, durable=True)
    assert not log.unsynced(0, 0, 100)
    assert log.unsynced(0, 5 * REGION, 100)
    log.end_sync(newer, durable=False)
    assert log.unsynced(0, 5 * REGION, 100)
    log.end_sync(log.start_sync(), durable=True)
    assert not log.unsynced(0, 5 * REGION, 100)
