"""A scripted primary: one WriteForward stream to a real secondary, step by step.

Tests of the secondary alone say with it exactly what was sent, applied, prepared and
committed when something happens to the process.
"""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Self

import google_crc32c
import grpc

from blkcolo.rpc.stream_on_wire import decode_response, encode_request
from blkcolo.stream import (
    Ack,
    Barrier,
    Batch,
    Hello,
    RecordKind,
    StreamFailure,
    Verify,
    VolumeId,
    Welcome,
    extend_digest,
)
from blkcolo.v1 import secondary_pb2 as pb
from tests.stack import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from blkcolo.stream import Request
    from blkcolo.v1 import stream_pb2
    from tests.stack import Stack

#: Messages sent and not applied.
_WINDOW = 24


class Forwarder:
    """One stream; a context manager that ends it."""

    def __init__(self, stack: Stack, *, generation: int = 1) -> None:
        self.stack = stack
        self.generation = generation
        self.failure: BaseException | None = None
        self.welcome: Welcome | None = None
        self.ack = Ack(1, 1, 0)
        self.epoch = 0
        self._seq = 0
        self._records = self._digest = 0
        self._outgoing: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        status = stack.secondary_status()
        self._volumes = tuple(
            VolumeId(v.name, v.uuid, v.size_bytes) for v in status.volumes
        )
        self._thread = threading.Thread(target=self._receive)

    def __enter__(self) -> Self:
        """Opens the stream; what differs on the secondary may be overwritten."""
        self._send(Hello("vm1", self.generation, self._volumes, discard_secondary=True))
        self._answers = self.stack.secondary.WriteForward(self._requests())
        self._thread.start()
        wait_until(lambda: self.welcome or self.failure, "welcome")
        assert self.welcome is not None, self.failure
        self.epoch = self.welcome.epoch
        self._send(Verify((), complete=True))
        return self

    def __exit__(self, *_: object) -> None:
        self._outgoing.put(None)
        self._answers.cancel()
        self._thread.join(10)

    def _requests(self) -> Iterator[stream_pb2.WriteForwardRequest]:
        seq = 0
        while (message := self._outgoing.get()) is not None:
            seq += 1
            yield encode_request(seq, message)

    def _receive(self) -> None:
        try:
            for answer in self._answers:
                message = decode_response(answer)
                if isinstance(message, Welcome):
                    self.welcome = message
                elif isinstance(message, Ack):
                    self.ack = message
                elif isinstance(message, StreamFailure):
                    self.failure = message.error
        except grpc.RpcError as error:
            self.failure = self.failure or error

    def _send(self, message: Request) -> None:
        self._seq += 1
        self._outgoing.put(message)

    # What a primary does.

    def write(self, offsets: Sequence[int], data: bytes, volume: int = 0) -> None:
        """One batch: the same data at each offset; waits where the window is full."""
        count = len(offsets)
        batch = Batch(
            self.epoch,
            [RecordKind.DATA] * count,
            [volume] * count,
            list(offsets),
            [len(data)] * count,
            [google_crc32c.value(data)] * count,
            data * count,
        )
        self._records += count
        batch.digest = self._digest = extend_digest(self._digest, batch)
        self._send(batch)
        self._wait(lambda: self._seq - self.ack.applied < _WINDOW, "room")

    def zero(self, offset: int, length: int, *, trim: bool) -> None:
        """One batch with a zero or a trim."""
        kind = RecordKind.TRIM if trim else RecordKind.ZERO
        batch = Batch(self.epoch, [kind], [0], [offset], [length], [0], b"")
        self._records += 1
        batch.digest = self._digest = extend_digest(self._digest, batch)
        self._send(batch)

    def barrier(self) -> int:
        """Ends the epoch; returns its number."""
        self._send(Barrier(self.epoch, self._records, self._digest))
        self._records = self._digest = 0
        self.epoch += 1
        return self.epoch - 1

    def applied(self) -> None:
        """Waits until everything that was sent is applied."""
        self._wait(lambda: self.ack.applied >= self._seq, "applied")

    def _wait(self, condition: object, what: str) -> None:
        assert callable(condition)
        wait_until(lambda: self.failure or condition(), what, 60)
        assert self.failure is None, self.failure

    def prepare(self, epoch: int) -> None:
        request = pb.SecondaryServicePrepareCheckpointRequest(
            group="vm1", epoch=epoch, generation=self.generation
        )
        self.stack.secondary.PrepareCheckpoint(request, timeout=60)

    def commit(self, epoch: int) -> None:
        request = pb.SecondaryServiceDoCheckpointRequest(
            group="vm1", epoch=epoch, generation=self.generation
        )
        self.stack.secondary.DoCheckpoint(request, timeout=60)

    def checkpoint(self) -> int:
        """Barrier, prepare, commit."""
        epoch = self.barrier()
        self.prepare(epoch)
        self.commit(epoch)
        return epoch


def stop(
    stack: Stack,
    mode: pb.StopMode.ValueType,
    *,
    generation: int = 2,
    epoch: int | None = None,
) -> pb.SecondaryServiceStopReplicationResponse:
    """StopReplication on the secondary."""
    request = pb.SecondaryServiceStopReplicationRequest(
        group="vm1", mode=mode, generation=generation, epoch=epoch
    )
    answer: pb.SecondaryServiceStopReplicationResponse = (
        stack.secondary.StopReplication(request, timeout=60)
    )
    return answer
