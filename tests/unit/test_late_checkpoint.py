"""A DoCheckpoint that comes late commits nothing that is not there any more."""

from __future__ import annotations

import random

import pytest

from blkcolo.errors import BlkcoloError, Reason, Refused
from blkcolo.extents import BLOCK_SIZE
from blkcolo.intent.log import IntentLog
from blkcolo.stream import Barrier, Hello, Verify, VolumeId, Welcome
from blkcolo_primary.core.forwarder import ForwarderCore
from blkcolo_primary.core.window import Window
from blkcolo_secondary.core.replica import Replica
from blkcolo_secondary.core.replica_options import ReplicaOptions
from tests.sim.disks import Machine

_SIZE = 4 * BLOCK_SIZE
_VOLUMES = (VolumeId("disk0", "uuid0", _SIZE),)


def _machine() -> Machine:
    return Machine("machine", random.Random(0), host=False)  # noqa: S311 - test data


def _intent(machine: Machine) -> IntentLog:
    return IntentLog(machine.folder, "vm", [_SIZE], BLOCK_SIZE)


def test_what_a_refused_stream_gave_up_is_not_committed_behind_it() -> None:
    machine = _machine()
    replica = Replica(
        "vm",
        _VOLUMES,
        [machine.image(_SIZE)],
        machine.folder,
        _intent(machine),
        lambda: "copy",
        ReplicaOptions(),
    )
    replica.reception.hello(Hello("vm", 1, _VOLUMES))
    stream = replica.reception.stream
    assert stream is not None
    messages: list[Verify | Barrier] = [Verify((), complete=True), Barrier(0, 0, 0)]
    for seq, message in enumerate(messages, 2):
        stream.receive(seq)
        list(replica.reception.apply(stream, seq, message))
    assert replica.checkpoints.prepared(0, 1) is not None
    machine.failing = 1
    with pytest.raises(BlkcoloError, match="journal"):
        replica.reception.hello(Hello("vm", 1, _VOLUMES))
    with pytest.raises(Refused) as refused:
        replica.checkpoints.commit(0, 1, 0.0)
    assert refused.value.reason is Reason.NOT_PREPARED


def test_a_commit_of_an_earlier_stream_clears_no_bit_of_this_one() -> None:
    machine = _machine()
    disk, intent = machine.image(_SIZE), _intent(machine)
    core = ForwarderCore(
        "vm",
        [disk],
        machine.folder,
        intent,
        batch_bytes=_SIZE,
        window=Window(_SIZE, 64),
        host=False,
    )
    core.start(1)
    core.welcome(Welcome(1, 4, 6, "copy"))
    core.writes.intend(0, 0, 1)
    dirty = intent.wanted(everything=False)
    core.do_checkpoint(4, 1)
    assert intent.wanted(everything=False) == dirty
    assert core.standing.committed is None
