"""Many small writes at once are the same as one after the other."""

from __future__ import annotations

import asyncio
import errno
import itertools
import struct
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from blkcolo.intent.file import Base
from blkcolo.intent.log import IntentLog
from blkcolo.nbd import write_burst
from blkcolo.nbd.connection import Connection
from blkcolo.nbd.constants import REQUEST_MAGIC, Command, CommandFlag, NbdError
from blkcolo.nbd.handshake import Session
from blkcolo.nbd.request_metrics import RequestMetrics
from blkcolo.nbd.requests import HEADER
from blkcolo.stream import Batch
from blkcolo_primary.core.outbox import Outbox
from tests.memory_files import MemoryFolder

if TYPE_CHECKING:
    import pytest

SIZE = 1 << 16
REGION = 4096


class RecordingExport:
    """Remembers what it is asked, and refuses writes of some offsets."""

    name = "disk"
    read_only = False

    def __init__(self, refused: frozenset[int], most: int | None) -> None:
        """Takes at most `most` writes of a burst; None: any number."""
        self.content = bytearray(SIZE)
        self.writes: list[tuple[int, int, bool]] = []
        self.in_bursts = 0
        self._refused = refused
        self._most = most

    def admit(self, offset: int, length: int) -> None:
        del offset, length

    def write(self, offset: int, data: memoryview, *, fua: bool) -> None:
        if offset in self._refused:
            raise OSError(errno.ENOSPC, "full")
        self.content[offset : offset + len(data)] = data
        self.writes.append((offset, len(data), fua))

    def write_each(self, offsets: list[int], pieces: list[memoryview]) -> int:
        for number, (offset, piece) in enumerate(zip(offsets, pieces, strict=True)):
            if number == self._most or offset in self._refused:
                self.in_bursts += number
                return number
            self.write(offset, piece, fua=False)
        self.in_bursts += len(offsets)
        return len(offsets)


class Replies:
    """The transport: keeps what was sent."""

    def __init__(self) -> None:
        """Nothing was."""
        self.sent = b""
        self.closing = False

    def is_closing(self) -> bool:
        return self.closing

    def writelines(self, parts: list[bytes]) -> None:
        self.sent += b"".join(parts)

    def resume_reading(self) -> None:
        pass

    def get_extra_info(self, name: str) -> None:
        del name

    def abort(self) -> None:
        self.closing = True


async def serve(
    export: RecordingExport, wire: bytes, cuts: list[int]
) -> tuple[Replies, Any]:
    """Sends requests, cut into pieces anywhere."""
    opened: Any = export
    connection = Connection({}, set(), 1, RequestMetrics())
    connection._session = Session(opened, SIZE, structured=True, block_status=True)
    replies: Any = Replies()
    connection._transport = replies
    edges = sorted({0, len(wire), *(cut % (len(wire) + 1) for cut in cuts)})
    for start, end in itertools.pairwise(edges):
        at = start
        while at < end and not replies.closing:
            room = connection.get_buffer(-1)
            count = min(len(room), end - at)
            room[:count] = wire[at : at + count]
            connection.buffer_updated(count)
            at += count
    return replies, connection._answered


def write(number: int, offset: int, length: int, flags: int = 0) -> bytes:
    head = HEADER.pack(REQUEST_MAGIC, flags, Command.WRITE, number, offset, length)
    return head + bytes((number * 7 + i) % 256 for i in range(length))


LENGTHS = st.sampled_from([0, 1, 64, 64, 64, 64, 4096])
OFFSETS = st.integers(0, SIZE // 64 - 1).map(lambda n: n * 64) | st.just(SIZE + 1)
FLAGS = st.sampled_from([0] * 20 + [int(CommandFlag.FUA), 0x80])
ONE = st.tuples(OFFSETS, LENGTHS, FLAGS)
#: Runs of equal lengths, as a client sends them, and anything between.
MANY = st.lists(
    st.lists(ONE, max_size=3)
    | st.lists(st.tuples(OFFSETS, st.just(64), FLAGS), min_size=8, max_size=40),
    max_size=6,
).map(lambda runs: [one for run in runs for one in run])


@given(
    MANY,
    st.frozensets(OFFSETS, max_size=40),
    st.none() | st.integers(0, 10),
    st.lists(st.integers(0, 1 << 16), max_size=5),
)
def test_a_client_cannot_tell_bursts_from_single_writes(
    requests: list[tuple[int, int, int]],
    refused: frozenset[int],
    most: int | None,
    cuts: list[int],
) -> None:
    wire = b"".join(write(n, *request) for n, request in enumerate(requests))
    together, alone = RecordingExport(refused, most), RecordingExport(refused, 0)
    one, _ = asyncio.run(serve(together, wire, cuts))
    other, _ = asyncio.run(serve(alone, wire, []))
    assert one.sent == other.sent
    assert len(one.sent) == 16 * len(requests)
    assert together.content == alone.content
    assert together.writes == alone.writes
    assert not alone.in_bursts


def test_many_equal_writes_come_as_a_burst() -> None:
    export = RecordingExport(frozenset(), None)
    wire = b"".join(write(number, number * 64, 64) for number in range(32))
    replies, _ = asyncio.run(serve(export, wire, []))
    assert export.in_bursts == 32
    assert replies.sent == b"".join(
        struct.pack(">IIQ", 0x67446698, 0, number) for number in range(32)
    )


def test_an_export_that_takes_no_bursts_is_asked_for_each_write(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    export = RecordingExport(frozenset(), None)
    searched: list[int] = []
    monkeypatch.setattr(export, "write_each", None)
    monkeypatch.setattr(write_burst, "find", lambda *_: searched.append(1))
    wire = b"".join(write(number, number * 64, 64) for number in range(32))
    replies, _ = asyncio.run(serve(export, wire, []))
    assert [offset for offset, _, _ in export.writes] == [n * 64 for n in range(32)]
    assert len(replies.sent) == 16 * 32
    assert not searched


def test_a_refused_write_of_a_burst_is_answered_alone_with_its_error() -> None:
    export = RecordingExport(frozenset({640}), None)
    wire = b"".join(write(number, number * 64, 64) for number in range(32))
    replies, _ = asyncio.run(serve(export, wire, []))
    errors = [error for _, error, _ in struct.iter_unpack(">IIQ", replies.sent)]
    assert errors == [0] * 10 + [int(NbdError.ENOSPC)] + [0] * 21
    assert export.in_bursts == 10


def test_a_write_that_leaves_the_disk_ends_the_burst_before_it() -> None:
    wire = b"".join(write(number, number * 64, 64) for number in range(10))
    wire += write(10, SIZE - 63, 64) + write(11, 0, 64)
    burst = write_burst.find(memoryview(wire), 0, len(wire), SIZE)
    assert burst is not None
    assert burst.offsets == [number * 64 for number in range(10)]


def test_few_writes_and_longer_offsets_than_64_bits_are_no_burst() -> None:
    few = b"".join(write(number, 0, 64) for number in range(7))
    assert write_burst.find(memoryview(few), 0, len(few), SIZE) is None
    far = b"".join(write(number, (1 << 64) - 1, 64) for number in range(9))
    assert write_burst.find(memoryview(far), 0, len(far), SIZE) is None


@given(
    st.lists(
        st.tuples(st.integers(1, 600), st.integers(1, 20), st.integers(0, 2)),
        max_size=8,
    ),
    st.integers(50, 2000),
)
def test_a_burst_makes_the_same_messages(
    bursts: list[tuple[int, int, int]], batch_bytes: int
) -> None:
    together, alone = (Outbox(1, batch_bytes) for _ in range(2))
    for number, (length, count, volume) in enumerate(bursts):
        offsets = [number * 100 + n * length for n in range(count)]
        pieces = [memoryview(bytes([n]) * length) for n in range(count)]
        together.data_each(volume, offsets, pieces)
        for offset, piece in zip(offsets, pieces, strict=True):
            alone.data(volume, offset, piece)
        assert together.last_seq == alone.last_seq
        assert together.in_flight_bytes == alone.in_flight_bytes
        assert together.unapplied_covered_bytes == alone.unapplied_covered_bytes
    for outbox in (together, alone):
        outbox.barrier()
    while message := alone.take():
        assert together.take() == message
        if isinstance(message[1], Batch):
            assert len(message[1].payload) <= batch_bytes
    assert together.empty


@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(0, 62 * REGION), min_size=1, max_size=20),
            st.integers(1, REGION + 1),
        ),
        max_size=8,
    )
)
def test_a_burst_is_marked_as_its_writes_are(
    bursts: list[tuple[list[int], int]],
) -> None:
    folder = MemoryFolder()
    log = IntentLog(folder, "vm", [SIZE * 4], REGION)
    log.finish_clear(Base("copy", 5), durable=False)
    for number, (offsets, length) in enumerate(bursts):
        log.mark_each(6 + number, 0, offsets, length)
        extents = IntentLog(folder, "vm", [SIZE * 4], REGION).dirty()[0]
        for offset in offsets:
            end = offset + length
            assert any(e.offset <= offset and end <= e.end for e in extents)
    if bursts:  # what the last burst touched stays marked when the one before commits
        log.committed(5 + len(bursts) - 1, Base("copy", 5 + len(bursts) - 1))
        extents = log.dirty()[0]
        for offset in bursts[-1][0]:
            end = offset + bursts[-1][1]
            assert any(e.offset <= offset and end <= e.end for e in extents)
