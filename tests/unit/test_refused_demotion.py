"""A demotion, or a stop, that the disk refuses leaves everything as it was."""

from __future__ import annotations

import random
from dataclasses import replace

import google_crc32c
import pytest

from blkcolo.errors import BlkcoloError
from blkcolo.extents import BLOCK_SIZE
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
from blkcolo_secondary.core.replica_state import ReplicaState
from blkcolo_secondary.core.stop_plan import StopMode
from tests.sim.disks import Machine, SimFile

_SIZE = 4 * BLOCK_SIZE
_VOLUMES = (VolumeId("disk0", "uuid0", _SIZE),)


class _Host:
    """A machine with one disk, and a replica on it that holds checkpoint 0."""

    def __init__(self, *, power: bool, seed: int = 0) -> None:
        self.machine = Machine("b", random.Random(seed), host=power)  # noqa: S311 - test data
        self.disk: SimFile = self.machine.image(_SIZE)
        self.replica = self.start()
        self.stream()

    def start(self) -> Replica:
        folder = self.machine.folder
        return Replica(
            "vm",
            _VOLUMES,
            [self.disk],
            self.machine.buffer,
            IntentLog(folder, "vm", [_SIZE], BLOCK_SIZE),
            lambda: "copy",
            ReplicaOptions(host_durable=self.machine.host),
        )

    def stream(self) -> None:
        self.replica.reception.hello(Hello("vm", 1, _VOLUMES))
        self.receive(2, Verify((), complete=True))
        self.commit(0)

    def receive(self, seq: int, message: Verify | Barrier | Batch) -> None:
        stream = self.replica.reception.stream
        assert stream is not None
        stream.receive(seq)
        for effect in self.replica.reception.apply(stream, seq, message):
            if isinstance(effect, Sync):
                effect.run()

    def write(self, seq: int, data: bytes, epoch: int = 1) -> None:
        checksum = google_crc32c.value(data)
        batch = Batch(epoch, [RecordKind.DATA], [0], [0], [len(data)], [checksum], data)
        self.receive(seq, replace(batch, digest=extend_digest(0, batch)))

    def commit(self, epoch: int) -> None:
        self.receive(epoch + 3, Barrier(epoch, 0, 0))
        for sync in self.replica.checkpoints.commit_steps(epoch, 1, 0.0):
            sync.run()

    def fail_over(self) -> None:
        self.replica.stop(StopMode.FAILOVER, 2)
        for effect in self.replica.flush_steps():
            if isinstance(effect, Sync):
                effect.run()
        assert self.replica.state is ReplicaState.FAILED_OVER

    def refuse(self, operations: int, *, demotion: bool = True) -> bool:
        """Fails one file operation of a demotion or a stop; False: there are fewer."""
        self.machine.fails_in = operations
        try:
            if demotion:
                self.replica.demote(3, 0)
            else:
                self.replica.stop(StopMode.ROLLBACK, 2)
        except BlkcoloError:
            return True
        finally:
            self.machine.fails_in = None
        return False


@pytest.mark.parametrize("power", [False, True])
@pytest.mark.parametrize("operation", range(4))
def test_survivor_serves_on_where_its_demotion_is_refused(
    operation: int, power: bool
) -> None:
    host = _Host(power=power)
    host.fail_over()
    if not host.refuse(operation):
        return
    host.replica.buffer.write(0, 0, memoryview(b"answered"))
    assert host.disk.content.startswith(b"answered")
    assert host.replica.generation == 2
    assert host.replica.shown == 0
    host.replica.demote(3, 0)
    assert not host.replica.tracks
    host.replica.reception.hello(Hello("vm", 3, _VOLUMES, epoch=1))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("operation", range(4))
def test_repeated_demotion_keeps_what_the_disk_held_over_power_loss(
    operation: int, seed: int
) -> None:
    host = _Host(power=True, seed=seed)
    host.write(4, b"to be undone")
    host.fail_over()
    host.replica.buffer.write(0, 0, memoryview(b"answered"))
    host.replica.buffer.sync()
    host.refuse(operation)
    host.replica.demote(3, 0)
    host.machine.crashed()
    after, kept = host.start(), bytearray(8)
    after.buffer.read_into(0, 0, memoryview(kept), at=-1)
    assert kept == b"answered"


@pytest.mark.parametrize("power", [False, True])
def test_demotion_keeps_what_was_served_behind_one_that_died_before_its_role(
    power: bool,
) -> None:
    host = _Host(power=power)
    host.fail_over()
    host.replica.demote(3, 0)
    # The host dies before its role is saved, and serves as primary again.
    host.disk.write(0, b"answered")
    host.disk.sync()
    host.replica = host.start()
    host.replica.demote(4, 5)
    host.replica.reception.hello(Hello("vm", 4, _VOLUMES, epoch=5))
    host.write(2, b"the copy", epoch=6)
    kept = bytearray(8)
    assert host.disk.content.startswith(b"the copy")
    host.start().buffer.read_into(0, 0, memoryview(kept), at=-1)
    assert kept == b"answered"


@pytest.mark.parametrize("operation", range(3))
def test_refused_stop_is_in_no_later_record(operation: int) -> None:
    host = _Host(power=True)
    if not host.refuse(operation, demotion=False):
        return
    host.commit(1)
    after = host.start()
    assert after.state is ReplicaState.DISCONNECTED
    assert after.checkpoints.committed == 1
