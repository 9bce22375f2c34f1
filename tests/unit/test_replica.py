"""The secondary's core, where what was asked for is still on its way."""

from __future__ import annotations

import pytest

from blkcolo.errors import Reason, Refused
from blkcolo.intent.log import IntentLog
from blkcolo.stream import Barrier, Hello, Verify, VolumeId
from blkcolo_secondary.core.replica import Replica
from blkcolo_secondary.core.replica_options import Prepared, ReplicaOptions
from tests.memory_files import MemoryFile, MemoryFolder

SIZE = 8192


def receiving() -> Replica:
    """A replica whose stream has begun and whose contents agree."""
    volumes = (VolumeId("disk0", "uuid0", SIZE),)
    disks = (MemoryFile(SIZE),)
    folder = MemoryFolder()
    intent = IntentLog(folder, "vm", [SIZE], 4096)
    replica = Replica(
        "vm", volumes, disks, folder, intent, lambda: "copy", ReplicaOptions()
    )
    replica.reception.hello(Hello("vm", 1, volumes))
    deliver(replica, 2, Verify((), complete=True))
    return replica


def deliver(replica: Replica, seq: int, message: Barrier | Verify) -> None:
    stream = replica.reception.stream
    assert stream is not None
    stream.receive(seq)
    for _ in replica.reception.apply(stream, seq, message):
        pass


def test_epoch_whose_barrier_is_under_way_is_waited_for() -> None:
    """Also behind another one, that nobody asked for any more."""
    replica = receiving()
    assert replica.checkpoints.prepared(1, 1, barrier_seq=4) is None
    deliver(replica, 3, Barrier(0, 0, 0))
    assert replica.checkpoints.prepared(1, 1, barrier_seq=4) is None
    deliver(replica, 4, Barrier(1, 0, 0))
    assert replica.checkpoints.prepared(1, 1, barrier_seq=4) == Prepared(1, 0)


def test_epoch_that_cannot_come_is_refused() -> None:
    replica = receiving()
    for barrier_seq in (0, 2):
        with pytest.raises(Refused) as refusal:
            replica.checkpoints.prepared(1, 1, barrier_seq)
        assert refusal.value.reason is Reason.EPOCH_GAP


def test_what_a_stream_prepared_is_not_committed_behind_a_demotion() -> None:
    replica = receiving()
    deliver(replica, 3, Barrier(0, 0, 0))
    stream = replica.reception.stream
    assert stream is not None
    replica.reception.ended(stream)
    replica.demote(2, 0)
    with pytest.raises(Refused) as refusal:
        replica.checkpoints.commit(0, 2, 0.0)
    assert refusal.value.reason is Reason.NOT_PREPARED
