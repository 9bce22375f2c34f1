"""What an interrupted resync has done is kept, and what a write undoes is not."""

from __future__ import annotations

from blkcolo.extents import Extent
from blkcolo.intent.file import Base
from blkcolo.intent.log import IntentLog
from blkcolo.intent.settled_regions import Copy
from tests.memory_files import MemoryFolder

REGION = 4096
#: The last region of the second volume is cut.
SIZES = [8 * REGION, 2 * REGION + 100]
COPY = Copy("copy", 1)


def log_of(folder: MemoryFolder) -> IntentLog:
    return IntentLog(folder, "vm", SIZES, REGION)


def settle(log: IntentLog, *compared: list[Extent]) -> None:
    log.settled.start(compared)
    log.finish_settle()


def test_settled_regions_outlive_the_process() -> None:
    folder = MemoryFolder()
    log = log_of(folder)
    log.welcomed(COPY, None)
    settle(log, [Extent(0, 3 * REGION)], [Extent(REGION, REGION + 100)])
    log = log_of(folder)
    assert log.base is None  # nothing is known but this
    log.welcomed(COPY, None)
    assert log.wanted(everything=True) == [
        [Extent(3 * REGION, 5 * REGION)],
        [Extent(0, REGION)],
    ]


def test_write_unsettles_its_regions_before_it_is_done() -> None:
    folder = MemoryFolder()
    log = log_of(folder)
    log.welcomed(COPY, None)
    settle(log, [Extent(0, 8 * REGION)], [Extent(0, SIZES[1])])
    assert log.mark(0, 0, 2 * REGION + 10, REGION)
    assert not log.mark(0, 0, 2 * REGION + 10, REGION)  # a hot region pays once
    log = log_of(folder)
    log.welcomed(COPY, None)
    assert log.wanted(everything=True) == [[Extent(2 * REGION, 2 * REGION)], []]


def test_region_that_is_written_while_it_settles_stays_unsettled() -> None:
    log = log_of(MemoryFolder())
    log.welcomed(COPY, None)
    log.settled.start([[Extent(0, 8 * REGION)], []])
    log.mark(0, 0, 0, 1)
    log.finish_settle()
    assert log.wanted(everything=True)[0] == [Extent(0, REGION)]


def test_partly_compared_region_is_not_settled() -> None:
    log = log_of(MemoryFolder())
    log.welcomed(COPY, None)
    settle(log, [Extent(100, 2 * REGION)], [Extent(0, 2 * REGION + 50)])
    assert log.wanted(everything=True) == [
        [Extent(0, REGION), Extent(2 * REGION, 6 * REGION)],
        [Extent(2 * REGION, 100)],
    ]


def test_other_copy_or_incarnation_has_nothing_settled() -> None:
    for other in (Copy("new", 1), Copy("copy", 2)):
        folder = MemoryFolder()
        log = log_of(folder)
        log.welcomed(COPY, None)
        settle(log, [Extent(0, 8 * REGION)], [])
        log.welcomed(other, None)
        assert log.wanted(everything=True)[0] == [Extent(0, 8 * REGION)]
        log = log_of(folder)
        log.welcomed(COPY, None)
        assert log.wanted(everything=True)[0] == [Extent(0, 8 * REGION)]


def test_settled_region_stays_dirty_until_a_commit_has_it() -> None:
    """A returning old primary ran ahead there, equal or not."""
    folder = MemoryFolder()
    log = log_of(folder)
    log.finish_clear(Base("copy", 5), durable=False)
    log.mark(6, 0, 0, REGION)
    log.welcomed(COPY, 5)
    settle(log, [Extent(0, REGION)], [])
    log = log_of(folder)
    log.welcomed(COPY, 5)
    assert log.dirty()[0] == [Extent(0, REGION)]
    assert log.wanted(everything=False)[0] == []


def test_epochs_that_the_secondary_has_committed_are_not_compared() -> None:
    log = log_of(MemoryFolder())
    log.finish_clear(Base("copy", 5), durable=False)
    log.mark(6, 0, 0, 1)
    log.mark(7, 0, REGION, 1)
    log.welcomed(COPY, 6)
    assert log.wanted(everything=False)[0] == [Extent(REGION, REGION)]


def test_grown_volume_keeps_its_marks_and_gets_a_clean_tail() -> None:
    folder = MemoryFolder()
    log = log_of(folder)
    log.finish_clear(Base("copy", 5), durable=False)
    log.mark(6, 1, 2 * REGION, 1)
    log.grow(1, 4 * REGION)
    log.mark(6, 1, 3 * REGION + 1, 1)
    sizes = [SIZES[0], 4 * REGION]
    again = IntentLog(folder, "vm", sizes, REGION)
    assert again.base == Base("copy", 5)
    assert again.dirty() == [[], [Extent(2 * REGION, 2 * REGION)]]
