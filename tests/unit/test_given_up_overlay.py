"""What a stop gave up stays given up, whatever starts or dies afterwards."""

from __future__ import annotations

import random

from blkcolo.extents import BLOCK_SIZE
from blkcolo.intent.log import IntentLog
from blkcolo.stream import Barrier, Hello, Verify, VolumeId
from blkcolo_secondary.buffer.disk_buffer import DiskBuffer
from blkcolo_secondary.core.replica import Replica
from blkcolo_secondary.core.replica_options import ReplicaOptions
from blkcolo_secondary.core.stop_plan import StopMode
from blkcolo_secondary.record.history import HistoryPolicy
from tests.memory_files import MemoryFile, MemoryFolder
from tests.sim.disks import Machine

_VOLUMES = (VolumeId("disk0", "uuid0", 4 * BLOCK_SIZE),)


def _start(disk: MemoryFile, folder: MemoryFolder, keep: int = 0) -> Replica:
    intent = IntentLog(folder, "vm", [4 * BLOCK_SIZE], BLOCK_SIZE)
    options = ReplicaOptions(history=HistoryPolicy(keep=keep))
    return Replica("vm", _VOLUMES, [disk], folder, intent, lambda: "copy", options)


def _protect(replica: Replica) -> None:
    replica.reception.hello(Hello("vm", 1, _VOLUMES))
    stream = replica.reception.stream
    assert stream is not None
    messages: list[Verify | Barrier] = [Verify((), complete=True), Barrier(0, 0, 0)]
    for seq, message in enumerate(messages, 2):
        stream.receive(seq)
        list(replica.reception.apply(stream, seq, message))
    replica.checkpoints.commit(0, 1, 0.0)


def test_an_overlay_dropped_by_a_commit_does_not_return_with_its_checkpoint() -> None:
    disk, folder = MemoryFile(4 * BLOCK_SIZE), MemoryFolder()
    replica = _start(disk, folder, keep=3)
    _protect(replica)
    replica.buffer.write(0, 0, memoryview(b"secondary VM"))
    stream = replica.reception.stream
    assert stream is not None
    for epoch in (1, 2):
        stream.receive(epoch + 3)
        list(replica.reception.apply(stream, epoch + 3, Barrier(epoch, 0, 0)))
        replica.checkpoints.commit(epoch, 1, 0.0)
    replica.stop(StopMode.FAILOVER, 2, epoch=0)
    after = _start(disk, folder, keep=3)
    seen = bytearray(4 * BLOCK_SIZE)
    after.buffer.read_into(0, 0, memoryview(seen))
    assert not any(seen)


def test_an_overlay_given_up_by_a_rollback_does_not_return_with_a_failover() -> None:
    disk, folder = MemoryFile(4 * BLOCK_SIZE), MemoryFolder()
    replica = _start(disk, folder)
    _protect(replica)
    replica.buffer.write(0, 0, memoryview(b"secondary VM"))
    replica.stop(StopMode.ROLLBACK, 1)
    list(replica.flush_steps())
    replica.stop(StopMode.FAILOVER, 2)
    # The process dies here, before anything was swept.
    after = _start(disk, folder)
    seen = bytearray(4 * BLOCK_SIZE)
    after.buffer.read_into(0, 0, memoryview(seen))
    assert not any(seen)


def test_what_a_start_removed_does_not_return_with_power_loss() -> None:
    for seed in range(20):
        machine = Machine("secondary", random.Random(seed), host=True)  # noqa: S311 - test data
        disk = machine.image(4 * BLOCK_SIZE)
        machine.folder.open("undo-7")
        machine.folder.sync()
        DiskBuffer(_VOLUMES, [disk], machine.folder, None, host=True)
        machine.crashed()
        assert machine.folder.names() == []
