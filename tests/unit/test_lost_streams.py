"""Streams that are lost again and again before a commit: what that costs the buffer."""

from __future__ import annotations

import random

import google_crc32c
import pytest

from blkcolo.intent_log import IntentLog
from blkcolo.stream import (
    Barrier,
    Batch,
    Hello,
    RecordKind,
    Verify,
    VolumeId,
    extend_digest,
)
from blkcolo_secondary.replica import Replica
from blkcolo_secondary.replica_options import ReplicaOptions
from blkcolo_secondary.save_and_write import Sync
from tests.sim.disks import Machine

SIZE = 16 * 4096
VOLUMES = (VolumeId("disk0", "uuid0", SIZE),)


class Secondary:
    """A replica on a machine, and a primary that loses its streams."""

    def __init__(self, seed: int, *, host: bool) -> None:
        self.machine = Machine("secondary", random.Random(seed), host=host)  # noqa: S311
        self.machine.image(SIZE)
        self.options = ReplicaOptions(host_durable=host, reserve_bytes=4096)
        self.start()

    def start(self) -> None:
        self.replica = Replica(
            "vm",
            VOLUMES,
            self.machine.images,
            self.machine.folder,
            IntentLog(self.machine.folder, "vm", [SIZE], 4096),
            lambda: "copy",
            self.options,
        )

    def connect(self) -> int:
        """A new stream, whose contents agree; its epoch."""
        self.seq = 1
        welcome = self.replica.hello(Hello("vm", 1, VOLUMES))
        self.deliver(Verify((), complete=True))
        return welcome.epoch

    def deliver(self, message: Batch | Barrier | Verify, *, syncs: bool = True) -> None:
        """Applies a message; without `syncs` up to the first one, which is not done."""
        stream = self.replica.stream
        assert stream is not None
        self.seq += 1
        stream.receive(self.seq)
        for step in self.replica.apply(stream, self.seq, message):
            if isinstance(step, Sync):
                if not syncs and step.run.__name__ == "sync":
                    return
                step.run()

    def view(self) -> bytes:
        content = bytearray(SIZE)
        self.replica.buffer.read_into(0, 0, memoryview(content))
        return bytes(content)

    def committed_at_first(self) -> bytes:
        """A first checkpoint of random bytes."""
        content = self.machine.rng.randbytes(SIZE)
        epoch = self.connect()
        batch = write(epoch, 0, content)
        self.deliver(batch)
        self.deliver(Barrier(epoch, 1, batch.digest))
        for step in self.replica.commit_steps(epoch, 1, 0.0):
            step.run()
        return content


def write(epoch: int, offset: int, data: bytes) -> Batch:
    batch = Batch(
        epoch, [int(RecordKind.DATA)], [0], [offset], [len(data)], payload=data
    )
    batch.checksums.append(google_crc32c.value(data))
    batch.digest = extend_digest(0, batch)
    return batch


@pytest.mark.parametrize("host", [False, True])
def test_each_block_is_saved_once_however_often_the_stream_is_lost(
    *, host: bool
) -> None:
    secondary = Secondary(1, host=host)
    content = secondary.committed_at_first()
    held, epoch = [], 0
    for life in range(8):
        if life == 4:
            secondary.start()  # as after a kill -9
        epoch = secondary.connect()
        secondary.deliver(write(epoch, 0, bytes([life + 1]) * SIZE))
        held.append(secondary.replica.buffer.buffer_bytes)
        assert secondary.view() == content
    assert SIZE <= held[0] == held[-1] < 2 * SIZE
    # The next epoch of this stream may be committed alone: it saves for itself.
    secondary.deliver(Barrier(epoch, 1, write(epoch, 0, bytes([8]) * SIZE).digest))
    secondary.deliver(write(epoch + 1, 0, bytes(SIZE)))
    for step in secondary.replica.commit_steps(epoch, 1, 0.0):
        step.run()
    assert secondary.view() == bytes([8]) * SIZE


@pytest.mark.parametrize("seed", range(20))
def test_old_content_is_synced_although_its_stream_was_lost_before(seed: int) -> None:
    """Saved, the sync not done, the stream lost; the next one overwrites the block."""
    secondary = Secondary(seed, host=True)
    content = secondary.committed_at_first()
    epoch = secondary.connect()
    secondary.deliver(write(epoch, 4096, b"a" * 8192), syncs=False)
    epoch = secondary.connect()
    secondary.deliver(write(epoch, 4096, b"b" * 8192))
    secondary.machine.crashed()
    secondary.start()
    assert secondary.view() == content
