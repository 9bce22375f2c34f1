"""The secondary's core on a simulated machine, and a primary that tests script."""

from __future__ import annotations

import random

import google_crc32c

from blkcolo.intent.log import IntentLog
from blkcolo.stream import (
    Barrier,
    Batch,
    Hello,
    RecordKind,
    Verify,
    VolumeId,
    extend_digest,
)
from blkcolo_secondary.buffer.save_and_write import Sync
from blkcolo_secondary.core.replica import Replica
from blkcolo_secondary.core.replica_options import ReplicaOptions
from tests.sim.disks import Machine

SIZE = 16 * 4096
VOLUMES = (VolumeId("disk0", "uuid0", SIZE),)


class Secondary:
    """A replica on a machine, and what is sent to it."""

    def __init__(self, seed: int, *, host: bool) -> None:
        self.machine = Machine("secondary", random.Random(seed), host=host)  # noqa: S311 - test data
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
        welcome = self.replica.reception.hello(Hello("vm", 1, VOLUMES))
        self.deliver(Verify((), complete=True))
        return welcome.epoch

    def deliver(self, message: Batch | Barrier | Verify, *, syncs: bool = True) -> None:
        """Applies a message; without `syncs` up to the first one, which is not done."""
        stream = self.replica.reception.stream
        assert stream is not None
        self.seq += 1
        stream.receive(self.seq)
        for step in self.replica.reception.apply(stream, self.seq, message):
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
        self.connect()
        self.commit(content)
        return content

    def commit(self, content: bytes) -> int:
        """A checkpoint of a whole disk in the stream's next epoch."""
        stream = self.replica.reception.stream
        assert stream is not None
        epoch = stream.epoch
        batch = write(epoch, 0, content)
        self.deliver(batch)
        self.deliver(Barrier(epoch, 1, batch.digest))
        for step in self.replica.checkpoints.commit_steps(epoch, 1, 0.0):
            step.run()
        return epoch


def write(epoch: int, offset: int, data: bytes) -> Batch:
    batch = Batch(
        epoch, [int(RecordKind.DATA)], [0], [offset], [len(data)], payload=data
    )
    batch.checksums.append(google_crc32c.value(data))
    batch.digest = extend_digest(0, batch)
    return batch
