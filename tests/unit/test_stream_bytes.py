"""Batches on the wire without a protobuf object around their payload."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blkcolo.errors import Invalid
from blkcolo.rpc import stream_bytes, stream_on_wire
from blkcolo.stream import Batch, Flush
from blkcolo.v1 import stream_pb2 as pb

U32, U64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    count = draw(st.integers(0, 20))

    def column(values: st.SearchStrategy[int]) -> list[int]:
        return draw(st.lists(values, min_size=count, max_size=count))

    kinds = column(st.integers(1, 3))
    volumes, offsets, lengths = column(U32), column(U64), column(U64)
    payload = draw(st.binary(max_size=300))
    sums, digest, repairs = column(U32), draw(U32), draw(st.booleans())
    columns = (kinds, volumes, offsets, lengths, sums)
    return Batch(draw(U64), *columns, payload, digest, repairs)


@given(U64, batches())
def test_a_batch_comes_back_and_any_protobuf_reads_it(seq: int, batch: Batch) -> None:
    raw = stream_bytes.encode_request(seq, batch)
    assert stream_bytes.decode(raw) == (seq, batch)
    message = pb.WriteForwardRequest.FromString(raw)
    assert message.seq == seq
    assert stream_on_wire.decode_request(message) == batch


@given(U64, batches())
def test_what_protobuf_wrote_is_read(seq: int, batch: Batch) -> None:
    raw = stream_on_wire.encode_request(seq, batch).SerializeToString()
    assert stream_bytes.decode(raw) == (seq, batch)


def test_other_messages_are_protobuf() -> None:
    raw = stream_bytes.encode_request(7, Flush())
    assert stream_bytes.decode(raw) == (7, Flush())


@given(batches(), st.data())
def test_a_cut_message_is_refused_or_is_another(
    batch: Batch, data: st.DataObject
) -> None:
    raw = stream_bytes.encode_request(3, batch)
    cut = raw[: data.draw(st.integers(0, len(raw) - 1))]
    with contextlib.suppress(Invalid):
        assert stream_bytes.decode(cut) != (3, batch)


@pytest.mark.parametrize("raw", [b"\xff", b"\x08", b"\x08\x01\x1a\x7f", b"\x1a" * 30])
def test_bytes_that_are_no_message_are_refused(raw: bytes) -> None:
    with pytest.raises(Invalid):
        stream_bytes.decode(raw)
