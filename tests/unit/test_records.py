"""On-disk records: what is written is read, a torn tail is cut, damage is refused."""

from __future__ import annotations

import errno
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blkcolo.errors import DataLoss
from blkcolo.storage import records
from blkcolo.storage.records import RecordLog
from tests.memory_files import MemoryFile

payloads = st.lists(st.binary(max_size=60), min_size=1, max_size=6)


def log_of(contents: list[bytes]) -> tuple[MemoryFile, list[int]]:
    file, ends = MemoryFile(), []
    for number, payload in enumerate(contents):
        head = records.header(1, 2, number, number + 1, payload)
        file.write(file.size, head + payload)
        ends.append(file.size)
    return file, ends


def read_back(file: MemoryFile) -> list[bytes]:
    log = records.RecordLog(file, "log")
    return [log.payload(record) for record in log.load()]


@given(payloads)
def test_records_come_back_as_written(contents: list[bytes]) -> None:
    file, _ = log_of(contents)
    assert read_back(file) == contents


@given(payloads, st.data())
def test_log_torn_anywhere_keeps_the_whole_records_and_is_cut_there(
    contents: list[bytes], data: st.DataObject
) -> None:
    file, ends = log_of(contents)
    length = data.draw(st.integers(0, file.size))
    file.truncate(length)
    whole = [end for end in ends if end <= length]
    assert read_back(file) == contents[: len(whole)]
    assert file.size == (whole[-1] if whole else 0)


@given(payloads, st.data())
def test_changed_byte_is_never_read_as_good(
    contents: list[bytes], data: st.DataObject
) -> None:
    file, ends = log_of([*contents, b"the last one"])
    at = data.draw(st.integers(0, ends[-2] - 1))
    file.content[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(DataLoss) as damage:
        read_back(file)
    assert "log" in str(damage.value)
    assert damage.value.offset <= at


def damaged(file: MemoryFile, *, host: bool = False) -> DataLoss:
    with pytest.raises(DataLoss) as damage:
        list(records.RecordLog(file, "log", host=host).load())
    return damage.value


@given(payloads, st.integers(1, 200), st.data())
def test_log_is_checked_in_pieces_and_no_changed_byte_is_missed(
    contents: list[bytes], length: int, data: st.DataObject
) -> None:
    file, ends = log_of(contents)
    flipped = data.draw(st.none() | st.integers(0, file.size - 1))
    if flipped is not None:
        file.content[flipped] ^= data.draw(st.integers(1, 255))
    begins = [0]

    def check_all() -> None:
        while begins[-1] < file.size:
            offset = records.check(file, "log", begins[-1], length, file.size)
            begins.append(offset)

    if flipped is None:
        check_all()
        assert begins[-1] == ends[-1]
        assert set(begins[1:]) <= set(ends)
        return
    with pytest.raises(DataLoss) as damage:
        check_all()
    assert damage.value.offset == max([0, *(end for end in ends if end <= flipped)])


def test_damaged_last_record_is_refused_not_cut() -> None:
    file, ends = log_of([b"one", b"two"])
    file.content[-1] ^= 1
    assert damaged(file).offset == ends[0]
    assert file.size == ends[1]


def test_torn_record_that_holds_a_copy_of_a_log_is_still_a_torn_tail() -> None:
    inner, _ = log_of([b"a log in the VM's own files"] * 3)
    file, ends = log_of([b"one", bytes(inner.content) + bytes(9)])
    file.truncate(file.size - 1)
    assert read_back(file) == [b"one"]
    assert file.size == ends[0]


def host_log(file: MemoryFile) -> records.RecordLog:
    """Three records, each synced before the next: two watermarks."""
    log = records.RecordLog(file, "log", host=True)
    for number in range(3):
        log.add(1, number, 0, b"payload")
        log.sync()
    return log


def test_after_power_loss_only_what_a_watermark_vouches_for_is_damage() -> None:
    file = MemoryFile()
    host_log(file)
    whole = [r.a for r in records.RecordLog(file, "log", host=True).load()]
    assert whole == [0, 1, 2]
    file.content[-1] ^= 1  # nothing says that the last one was durable
    assert [r.a for r in records.RecordLog(file, "log", host=True).load()] == [0, 1]
    file = MemoryFile()
    host_log(file)
    file.content[records.HEADER_SIZE] ^= 1
    assert damaged(file, host=True).offset == 0


def test_watermark_in_a_copied_log_vouches_for_nothing() -> None:
    inner = MemoryFile()
    host_log(inner)
    file = MemoryFile()
    log = records.RecordLog(file, "log", host=True)
    log.add(1, 0, 0, bytes(inner.content))
    file.content[-1] ^= 1
    assert list(records.RecordLog(file, "log", host=True).load()) == []
    assert file.size == 0


def test_log_whose_sync_failed_takes_nothing_more() -> None:
    class Failing(MemoryFile):
        def sync(self) -> None:
            raise OSError(errno.EIO, "lost page")

    file = Failing()
    log = records.RecordLog(file, "undo-7", host=True)
    log.add(1, 0, 0)
    with pytest.raises(OSError, match="lost page"):
        log.sync()
    assert log.lost_from == 0
    for again in (log.sync, lambda: log.add(1, 1, 0)):
        with pytest.raises(OSError, match="undo-7 takes nothing more"):
            again()


def test_what_was_appended_before_stays_readable_where_a_repair_failed() -> None:
    """A failed append leaves what is before it as it was; no sync has failed."""
    for host in (False, True):
        file = MemoryFile()
        log = RecordLog(file, "log", host=host)
        log.add(1, 2, 3, b"before")
        end = log.end
        file.fail_writes = OSError(errno.ENOSPC, "full")
        with (
            patch.object(file, "truncate", side_effect=OSError(errno.EIO, "dying")),
            pytest.raises(OSError, match="full"),
        ):
            log.add(1, 2, 3, b"torn")
        file.fail_writes = None
        with pytest.raises(OSError, match="takes nothing more"):
            log.add(1, 2, 3, b"after")
        assert log.lost_from == end
