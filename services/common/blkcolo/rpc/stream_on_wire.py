"""WriteForward messages to protobuf and back; the only place that knows both."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from crc32c import crc32c

from blkcolo.errors import DataLoss, Invalid, Reason
from blkcolo.extents import Extent
from blkcolo.rpc.errors import failure_from, failure_message
from blkcolo.stream import (
    Ack,
    Ahead,
    Barrier,
    Batch,
    Flush,
    Hello,
    Mismatch,
    Request,
    Response,
    StreamFailure,
    Verify,
    VerifyExtent,
    VolumeId,
    Welcome,
)
from blkcolo.v1 import stream_pb2 as pb
from blkcolo.v1 import types_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.message import Message


def encode_request(seq: int, message: Request) -> pb.WriteForwardRequest:
    """Encodes what the primary sends."""
    match message:
        case Batch():
            batch = encode_columns(message)
            batch.payload = bytes(message.payload)
            return pb.WriteForwardRequest(seq=seq, batch=batch)
        case Barrier(epoch, records, digest):
            barrier = pb.Barrier(epoch=epoch, records=records, digest=digest)
            return pb.WriteForwardRequest(
                seq=seq, barrier=barrier, checksum=message_checksum(barrier, seq)
            )
        case Verify(extents, complete):
            verify = pb.Verify(extents=_encode_extents(extents), complete=complete)
            return pb.WriteForwardRequest(
                seq=seq, verify=verify, checksum=message_checksum(verify, seq)
            )
        case Flush():
            flush = pb.Flush()
            return pb.WriteForwardRequest(
                seq=seq, flush=flush, checksum=message_checksum(flush, seq)
            )
        case Hello():
            hello = _encode_hello(message)
            return pb.WriteForwardRequest(
                seq=seq, hello=hello, checksum=message_checksum(hello, seq)
            )


def encode_columns(batch: Batch) -> pb.Batch:
    """Encodes all of a batch but its payload."""
    return pb.Batch(
        epoch=batch.epoch,
        kinds=cast("list[pb.RecordKind.ValueType]", batch.kinds),
        volumes=batch.volumes,
        offsets=batch.offsets,
        lengths=batch.lengths,
        checksums=batch.checksums,
        digest=batch.digest,
        repairs=batch.repairs,
    )


def message_checksum(message: Message, seq: int = 0) -> int:
    """CRC32C of what a message says: TCP's own check misses one error in 65536."""
    encoded = message.SerializeToString(deterministic=True)
    return crc32c(seq.to_bytes(8, "little") + encoded)


def _check(kind: str, message: Message, checksum: int, seq: int = 0) -> None:
    if message_checksum(message, seq) != checksum:
        raise DataLoss(
            Reason.CHECKSUM,
            f"a {kind} (message {seq}) does not match its CRC32C: it was damaged on the"
            " way; the primary must open a new stream",
        )


def decode_request(message: pb.WriteForwardRequest) -> Request:
    """Decodes what the primary sent.

    Raises:
        Invalid: it says nothing that this version knows.
        DataLoss: it was damaged on the way.
    """
    kind = message.WhichOneof("message")
    older = kind == "hello" and not message.checksum  # refused by its version later
    if kind is not None and kind != "batch" and not older:
        _check(kind, getattr(message, kind), message.checksum, message.seq)
    match kind:
        case "batch":
            return decode_batch(message.batch, message.batch.payload)
        case "barrier":
            barrier = message.barrier
            return Barrier(barrier.epoch, barrier.records, barrier.digest)
        case "verify":
            verify = message.verify
            return Verify(_decode_extents(verify.extents), verify.complete)
        case "flush":
            return Flush()
        case "hello":
            return _decode_hello(message.hello)
        case None:
            raise Invalid(
                Reason.PROTOCOL_VERSION,
                f"stream message {message.seq} is empty or of a newer protocol;"
                " run the same version on both sides",
            )


def decode_batch(columns: pb.Batch, payload: bytes | memoryview) -> Batch:
    """Decodes a batch whose payload is given apart."""
    return Batch(
        columns.epoch,
        list(columns.kinds),
        list(columns.volumes),
        list(columns.offsets),
        list(columns.lengths),
        list(columns.checksums),
        payload,
        columns.digest,
        columns.repairs,
    )


def encode_response(message: Response) -> pb.WriteForwardResponse:
    """Encodes what the secondary sends."""
    encoded = _encode_answer(message)
    kind = encoded.WhichOneof("message")
    if kind is not None:
        encoded.checksum = message_checksum(getattr(encoded, kind))
    return encoded


def _encode_answer(message: Response) -> pb.WriteForwardResponse:
    match message:
        case Ack(received, applied, durable, buffer_full):
            ack = pb.Ack(
                received_seq=received,
                applied_seq=applied,
                durable_seq=durable,
                buffer_full=buffer_full,
            )
            return pb.WriteForwardResponse(ack=ack)
        case Welcome(generation, committed, epoch, replica_id, incarnation, ahead):
            welcome = pb.Welcome(
                generation=generation,
                committed_epoch=committed,
                epoch=epoch,
                replica_id=replica_id,
                incarnation=incarnation,
                ahead=_encode_ahead(ahead) if ahead is not None else None,
            )
            return pb.WriteForwardResponse(welcome=welcome)
        case Mismatch(extents):
            mismatch = pb.Mismatch(extents=_encode_extents(extents))
            return pb.WriteForwardResponse(mismatch=mismatch)
        case StreamFailure(error):
            return pb.WriteForwardResponse(failure=failure_message(error))


def decode_response(message: pb.WriteForwardResponse) -> Response:
    """Decodes what the secondary sent.

    Raises:
        Invalid: it says nothing that this version knows.
        DataLoss: it was damaged on the way.
    """
    kind = message.WhichOneof("message")
    if kind is not None:
        _check(kind, getattr(message, kind), message.checksum)
    match kind:
        case "ack":
            ack = message.ack
            return Ack(
                ack.received_seq, ack.applied_seq, ack.durable_seq, ack.buffer_full
            )
        case "welcome":
            welcome = message.welcome
            has_checkpoint = welcome.HasField("committed_epoch")
            committed = welcome.committed_epoch if has_checkpoint else None
            return Welcome(
                welcome.generation,
                committed,
                welcome.epoch,
                welcome.replica_id,
                welcome.incarnation,
                _decode_ahead(welcome.ahead) if welcome.HasField("ahead") else None,
            )
        case "mismatch":
            return Mismatch(_decode_extents(message.mismatch.extents))
        case "failure":
            return StreamFailure(failure_from(message.failure))
        case None:
            raise Invalid(
                Reason.PROTOCOL_VERSION,
                "the secondary's answer is empty or of a newer protocol;"
                " run the same version on both sides",
            )


def encode_volume(volume: VolumeId) -> types_pb2.Volume:
    """Encodes a volume's identity."""
    return types_pb2.Volume(name=volume.name, uuid=volume.uuid, size_bytes=volume.size)


def _encode_hello(hello: Hello) -> pb.Hello:
    return pb.Hello(
        protocol_version=hello.protocol_version,
        group=hello.group,
        generation=hello.generation,
        volumes=[encode_volume(volume) for volume in hello.volumes],
        discard_secondary=hello.discard_secondary,
        epoch=hello.epoch,
    )


def _decode_hello(hello: pb.Hello) -> Hello:
    volumes = tuple(VolumeId(v.name, v.uuid, v.size_bytes) for v in hello.volumes)
    return Hello(
        hello.group,
        hello.generation,
        volumes,
        hello.protocol_version,
        hello.discard_secondary,
        hello.epoch,
    )


def _encode_ahead(ahead: Ahead) -> pb.Ahead:
    volumes = [
        pb.AheadVolume(
            offsets=[extent.offset for extent in extents],
            lengths=[extent.length for extent in extents],
        )
        for extents in ahead.extents
    ]
    return pb.Ahead(replica_id=ahead.replica_id, volumes=volumes)


def _decode_ahead(ahead: pb.Ahead) -> Ahead:
    extents = (map(Extent, v.offsets, v.lengths) for v in ahead.volumes)
    return Ahead(ahead.replica_id, tuple(tuple(each) for each in extents))


def _encode_extents(extents: Iterable[VerifyExtent]) -> list[pb.VerifyExtent]:
    return [
        pb.VerifyExtent(
            volume=e.volume, offset=e.offset, length=e.length, digest=e.digest
        )
        for e in extents
    ]


def _decode_extents(extents: Iterable[pb.VerifyExtent]) -> tuple[VerifyExtent, ...]:
    return tuple(VerifyExtent(e.volume, e.offset, e.length, e.digest) for e in extents)
