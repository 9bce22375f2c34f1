"""A forged or damaged number does not use generations and epochs up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from blkcolo.errors import Invalid
from blkcolo.intent.log import IntentLog
from blkcolo.leaps import LONGEST
from blkcolo.stream import Hello, VolumeId
from blkcolo_primary.core.forwarder import ForwarderCore
from blkcolo_primary.core.window import Window
from blkcolo_secondary.core.replica import Replica
from blkcolo_secondary.core.replica_options import ReplicaOptions
from blkcolo_secondary.core.stop_plan import StopMode
from tests.memory_files import MemoryFile, MemoryFolder

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = 8192
VOLUMES = (VolumeId("disk0", "uuid0", SIZE),)
HIGHEST = (1 << 64) - 1


def new_replica() -> Replica:
    folder = MemoryFolder()
    intent = IntentLog(folder, "vm", [SIZE], 4096)
    disks = (MemoryFile(SIZE),)
    return Replica(
        "vm", VOLUMES, disks, folder, intent, lambda: "copy", ReplicaOptions()
    )


@pytest.mark.parametrize(
    "call",
    [
        lambda replica: replica.reception.hello(Hello("vm", HIGHEST, VOLUMES)),
        lambda replica: replica.reception.hello(Hello("vm", 1, VOLUMES, epoch=HIGHEST)),
        lambda replica: replica.stop(StopMode.KEEP_LATEST, HIGHEST),
        lambda replica: replica.demote(HIGHEST, 0),
    ],
)
def test_secondary_refuses_a_leap_and_stays_usable(
    call: Callable[[Replica], object],
) -> None:
    replica = new_replica()
    with pytest.raises(Invalid, match="nobody can have got there"):
        call(replica)
    assert replica.reception.hello(Hello("vm", 1, VOLUMES)).generation == 1
    assert (
        replica.reception.hello(Hello("vm", 1 + LONGEST, VOLUMES)).generation
        == 1 + LONGEST
    )


@pytest.mark.parametrize("call", ["start", "stop", "fence"])
def test_primary_refuses_a_leap_and_stays_usable(call: str) -> None:
    folder = MemoryFolder()
    intent = IntentLog(folder, "vm", [SIZE], 4096)
    core = ForwarderCore("vm", (MemoryFile(SIZE),), folder, intent, 4096, Window(8192))
    with pytest.raises(Invalid, match="nobody can have got there"):
        getattr(core, call)(HIGHEST)
    core.start(1)
    assert core.generation == 1
