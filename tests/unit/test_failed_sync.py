"""One failed fdatasync of a log is not the end of a group."""

from __future__ import annotations

import random

import pytest

from blkcolo.errors import DataLoss, Exhausted
from blkcolo.intent.file import Base
from blkcolo.intent.log import IntentLog
from blkcolo.stream import Hello, VolumeId
from blkcolo_secondary.core.replica import Replica
from blkcolo_secondary.core.replica_options import ReplicaOptions
from tests.sim.disks import Machine

_VOLUMES = (VolumeId("disk0", "uuid0", 4096),)


def test_a_new_stream_is_taken_behind_a_failed_sync_of_the_journal() -> None:
    machine = Machine("secondary", random.Random(0), host=True)  # noqa: S311 - test data
    replica = Replica(
        "vm",
        _VOLUMES,
        [machine.image(4096)],
        machine.folder,
        IntentLog(machine.folder, "vm", [4096], 4096),
        lambda: "copy",
        ReplicaOptions(host_durable=True),
    )
    replica.reception.hello(Hello("vm", 1, _VOLUMES))
    machine.failing = 1
    with pytest.raises((DataLoss, Exhausted)):
        replica.journal.sync()
    assert replica.reception.hello(Hello("vm", 2, _VOLUMES)).generation == 2


def test_marks_are_made_and_kept_behind_a_failed_sync_of_the_intent_log() -> None:
    machine = Machine("primary", random.Random(0), host=True)  # noqa: S311 - test data
    intent = IntentLog(machine.folder, "vm", [8192], 4096)
    intent.finish_clear(Base("copy", 0), durable=True)
    intent.mark(1, 0, 0, 1)
    started = intent.start_sync()
    machine.failing = 1
    with pytest.raises(OSError, match="simulated"):
        intent.sync()
    intent.end_sync(started, durable=False)
    intent.mark(1, 0, 4096, 1)
    assert not intent.unsynced(0, 0, 1)
    machine.crashed()
    after = IntentLog(machine.folder, "vm", [8192], 4096)
    assert after.dirty_bytes in (4096, 8192)  # the second one was not synced yet
