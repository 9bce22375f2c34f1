"""Requests of a WriteForward stream as bytes: plain protobuf, but for fewer copies.

A protobuf object copies a batch's payload when it is made and again when it is
serialized, and the same on the other side. Here the payload is put behind the encoded
columns, and found again in what came. Fields may stand in any order on the wire, so
any protobuf reads what is written here; and what is written otherwise is read by
protobuf.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from blkcolo.errors import Invalid, Reason
from blkcolo.rpc.stream_on_wire import decode_batch, decode_request, encode_columns
from blkcolo.rpc.stream_on_wire import encode_request as encode_message
from blkcolo.stream import Batch
from blkcolo.v1 import stream_pb2 as pb

if TYPE_CHECKING:
    from blkcolo.stream import Request

# Tags: field number << 3 | wire type.
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_SEQ = pb.WriteForwardRequest.SEQ_FIELD_NUMBER << 3 | _VARINT
_BATCH = pb.WriteForwardRequest.BATCH_FIELD_NUMBER << 3 | _LENGTH
_PAYLOAD = pb.Batch.PAYLOAD_FIELD_NUMBER << 3 | _LENGTH


class _UnexpectedError(Exception):
    """Not written as here; protobuf reads it."""


def encode_request(seq: int, message: Request) -> bytes:
    """Encodes what the primary sends."""
    if not isinstance(message, Batch):
        return encode_message(seq, message).SerializeToString()
    columns = encode_columns(message).SerializeToString()
    size = _varint(len(message.payload))
    inner = len(columns) + 1 + len(size) + len(message.payload)
    head = bytes((_SEQ,)) + _varint(seq) + bytes((_BATCH,)) + _varint(inner)
    return b"".join((head, columns, bytes((_PAYLOAD,)), size, message.payload))


def decode(raw: bytes) -> tuple[int, Request]:
    """Decodes what the primary sent: seq and message.

    The payload of a batch is a view of `raw`.

    Raises:
        Invalid: it says nothing that this version knows.
        DataLoss: it was damaged on the way.
    """
    try:
        return _decode_batch(raw)
    except (_UnexpectedError, IndexError):
        pass
    try:
        message = pb.WriteForwardRequest.FromString(raw)
    except DecodeError as error:
        raise Invalid(
            Reason.INVALID, f"stream message: {error}; run the same version everywhere"
        ) from error
    return message.seq, decode_request(message)


def _decode_batch(raw: bytes) -> tuple[int, Request]:
    if raw[0] != _SEQ:
        raise _UnexpectedError
    seq, at = _read_varint(raw, 1)
    if raw[at] != _BATCH:
        raise _UnexpectedError
    inner, at = _read_varint(raw, at + 1)
    if at + inner != len(raw):
        raise _UnexpectedError
    start, begin, end = _find_payload(raw, at)
    try:
        columns = pb.Batch.FromString(raw[at:start] + raw[end:])
    except DecodeError as error:
        raise _UnexpectedError from error
    return seq, decode_batch(columns, memoryview(raw)[begin:end])


def _find_payload(raw: bytes, at: int) -> tuple[int, int, int]:
    """Where the payload's field starts, and where its bytes start and end."""
    while at < len(raw):
        start, tag = at, raw[at]
        kind = tag & 7
        if kind == _VARINT:
            _, at = _read_varint(raw, at + 1)
        elif kind == _FIXED64:
            at += 9
        elif kind == _FIXED32:
            at += 5
        elif kind == _LENGTH:
            length, begin = _read_varint(raw, at + 1)
            at = begin + length
            if tag == _PAYLOAD:
                if at > len(raw):
                    break
                return start, begin, at
        else:
            break
    raise _UnexpectedError


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _read_varint(raw: bytes, at: int) -> tuple[int, int]:
    """A varint of at most 64 bits, and the position behind it."""
    value = shift = 0
    while True:
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise _UnexpectedError
