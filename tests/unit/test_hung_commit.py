"""A disk that hangs in the fdatasync of a commit holds one task, whoever asks again."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from typing import TYPE_CHECKING, cast

import pytest

from blkcolo.intent.log import IntentLog
from blkcolo.stream import Barrier, Hello, Verify, VolumeId
from blkcolo_secondary.core.replica import Replica
from blkcolo_secondary.core.replica_options import ReplicaOptions
from blkcolo_secondary.runtime.group import ReplicaGroup
from tests.sim.disks import Machine, SimFile

if TYPE_CHECKING:
    from blkcolo.storage.volume_growth import VolumeGrowth

SIZE = 4096
VOLUMES = (VolumeId("disk0", "uuid0", SIZE),)


class HangingDisk(SimFile):
    """Its fdatasync returns when it is let go."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine, SIZE)
        self.let_go = threading.Event()

    def sync(self) -> None:
        assert self.let_go.wait(20)
        super().sync()


def group_on(disk: HangingDisk, machine: Machine) -> ReplicaGroup:
    replica = Replica(
        "vm",
        VOLUMES,
        [disk],
        machine.folder,
        IntentLog(machine.folder, "vm", [SIZE], 4096),
        lambda: "copy",
        ReplicaOptions(host_durable=True),
    )
    growth = cast("VolumeGrowth", None)  # nothing grows here
    return ReplicaGroup(
        replica, secondary_vm=False, queue_bytes=1 << 20, growth=growth, clock=time.time
    )


async def test_commits_that_are_given_up_leave_one_task_behind() -> None:
    machine = Machine("secondary", random.Random(0), host=True)  # noqa: S311 - test data
    disk = HangingDisk(machine)
    group = group_on(disk, machine)
    replica = group.replica
    replica.reception.hello(Hello("vm", 1, VOLUMES))
    stream = replica.reception.stream
    assert stream is not None
    messages: list[Verify | Barrier] = [Verify((), complete=True)]
    messages += [Barrier(epoch, 0, 0) for epoch in range(6)]
    for seq, message in enumerate(messages, 2):
        stream.receive(seq)
        list(replica.reception.apply(stream, seq, message))
    try:
        for epoch in range(6):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(group.checkpoints.commit(epoch, 1), 0.02)
        names = [task.get_name() for task in asyncio.all_tasks()]
        assert names.count("commit vm") == 1
    finally:
        disk.let_go.set()
    assert (await group.checkpoints.commit(5, 1)).epoch == 5
    await group.close()
