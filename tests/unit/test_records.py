"""On-disk records: what is written is read, a torn tail is cut, damage is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blkcolo import records
from blkcolo.errors import DataLoss
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
