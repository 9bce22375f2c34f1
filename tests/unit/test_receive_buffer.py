"""However the kernel cuts a client's bytes, the same requests are found."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blkcolo.nbd.constants import REQUEST_MAGIC, Command
from blkcolo.nbd.receive_buffer import ReceiveBuffer
from blkcolo.nbd.requests import HEADER, ProtocolViolationError, Request

_WRITE, _FLUSH = int(Command.WRITE), int(Command.FLUSH)
_LENGTHS = st.one_of(
    st.integers(1, 9000),
    st.sampled_from([4096, 65536, 131044, 131045, 262144, 1 << 20, (2 << 20) + 1]),
)
_CUTS = st.one_of(st.integers(1, 300), st.integers(1, 1 << 19), st.just(1 << 30))


def _payload(cookie: int, length: int) -> bytes:
    unit = struct.pack(">I", cookie * 2654435761 % (1 << 32)) + bytes((cookie, 7, 1))
    return (unit * (length // len(unit) + 1))[:length]


def _encoded(number: int, length: int | None) -> tuple[Request, bytes, bytes]:
    """A write of `length` bytes, or a flush."""
    kind = _FLUSH if length is None else _WRITE
    request = Request(0, kind, number, 4096 * number, length or 0)
    flags, _, cookie, offset, size = request
    head = HEADER.pack(REQUEST_MAGIC, flags, kind, cookie, offset, size)
    return request, head, b"" if length is None else _payload(number, length)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.one_of(st.none(), _LENGTHS), min_size=1, max_size=12),
    st.lists(_CUTS, min_size=1, max_size=20),
    st.integers(0, 200_000),
    st.booleans(),
)
def test_any_cuts_give_the_same_requests(
    lengths: list[int | None], cuts: list[int], handshake_rest: int, hesitate: bool
) -> None:
    sent = [_encoded(number, length) for number, length in enumerate(lengths)]
    wire = b"".join(head + data for _, head, data in sent)
    buffer, found = ReceiveBuffer(), list[tuple[Request, bytes]]()
    buffer.put_back(wire[:handshake_rest])
    at, turn = min(handshake_rest, len(wire)), 0
    while True:
        while (request := buffer.next_request()) is not None:
            if hesitate:  # held up: it is found again
                assert buffer.next_request() == request
            data = bytes(buffer.payload) if request.kind == _WRITE else b""
            found.append((request, data))
            buffer.consume()
        if at == len(wire):
            break
        room = buffer.room()
        assert len(room) > 0
        count = min(len(room), len(wire) - at, cuts[turn % len(cuts)])
        room[:count] = wire[at : at + count]
        buffer.received(count)
        at, turn = at + count, turn + 1
    assert found == [(request, data) for request, _, data in sent]


def test_bytes_behind_a_large_write_that_waits_are_kept() -> None:
    buffer = ReceiveBuffer()
    large, small = _encoded(1, 1 << 20), _encoded(2, 4096)
    wire = memoryview(large[1] + large[2] + small[1] + small[2])
    while wire:
        room = buffer.room()
        count = min(len(room), len(wire))
        room[:count] = wire[:count]
        buffer.received(count)
        wire = wire[count:]
        buffer.next_request()
    assert (buffer.next_request(), bytes(buffer.payload)) == (large[0], large[2])
    buffer.consume()
    assert (buffer.next_request(), bytes(buffer.payload)) == (small[0], small[2])


def test_a_wrong_magic_is_no_request() -> None:
    buffer = ReceiveBuffer()
    buffer.put_back(bytes(HEADER.size))
    with pytest.raises(ProtocolViolationError, match="magic"):
        buffer.next_request()
