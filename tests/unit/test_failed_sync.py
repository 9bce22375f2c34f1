"""One failed fdatasync of the journal is not the end of a group."""

from __future__ import annotations

import random

import pytest

from blkcolo.errors import DataLoss, Exhausted
from blkcolo.intent_log import IntentLog
from blkcolo.stream import Hello, VolumeId
from blkcolo_secondary.replica import Replica
from blkcolo_secondary.replica_options import ReplicaOptions
from tests.sim.disks import Machine

_VOLUMES = (VolumeId("disk0", "uuid0", 4096),)


def test_a_new_stream_is_taken_behind_a_failed_sync_of_the_journal() -> None:
    machine = Machine("secondary", random.Random(0), host=True)  # noqa: S311
    replica = Replica(
        "vm",
        _VOLUMES,
        [machine.image(4096)],
        machine.folder,
        IntentLog(machine.folder, "vm", [4096], 4096),
        lambda: "copy",
        ReplicaOptions(host_durable=True),
    )
    replica.hello(Hello("vm", 1, _VOLUMES))
    machine.failing = 1
    with pytest.raises((DataLoss, Exhausted)):
        replica.journal.sync()
    assert replica.hello(Hello("vm", 2, _VOLUMES)).generation == 2
