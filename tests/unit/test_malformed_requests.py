"""Requests that are intact on the wire, and mean nothing."""

from __future__ import annotations

import math

import pytest

from blkcolo.errors import Invalid
from blkcolo.intent.log import IntentLog
from blkcolo.stream import Batch, Hello, VolumeId
from blkcolo.v1 import coordinator_pb2 as pb
from blkcolo_coordinator.servicer import policy_from
from blkcolo_secondary.core.replica import Replica
from blkcolo_secondary.core.replica_options import ReplicaOptions
from tests.memory_files import MemoryFile, MemoryFolder

SIZE = 8192


def test_batch_without_records_is_refused() -> None:
    volumes = (VolumeId("disk0", "uuid0", SIZE),)
    folder, disk = MemoryFolder(), MemoryFile(SIZE)
    disk.write(0, b"foreign")
    intent = IntentLog(folder, "vm", [SIZE], 4096)
    replica = Replica(
        "vm", volumes, (disk,), folder, intent, lambda: "copy", ReplicaOptions()
    )
    replica.reception.hello(Hello("vm", 1, volumes))
    stream = replica.reception.stream
    assert stream is not None
    stream.receive(2)
    with pytest.raises(Invalid, match="no records"):
        list(replica.reception.apply(stream, 2, Batch(0)))


@pytest.mark.parametrize("number", [math.nan, math.inf])
@pytest.mark.parametrize(
    "field", ["min_interval_seconds", "max_interval_seconds", "rpo_target_seconds"]
)
def test_policy_with_a_number_that_is_none_is_refused(
    field: str, number: float
) -> None:
    policy = pb.CheckpointPolicy()
    setattr(policy, field, number)
    with pytest.raises(Invalid, match=field):
        policy_from(policy)
