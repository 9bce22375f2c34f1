"""Roles change and change back: nothing is copied twice, and nothing is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest

from blkcolo.v1 import (
    coordinator_pb2,
    primary_pb2,
    primary_pb2_grpc,
    secondary_pb2,
    secondary_pb2_grpc,
    types_pb2,
)
from tests.nbd_client import NbdClient, NbdReplyError
from tests.stack import MIB, PROTECTED, Stack, started, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.fault]

REGION = 65536
FAILED_OVER = types_pb2.GROUP_STATE_FAILED_OVER


class Pair(Stack):
    """A stack whose nodes are asked by name, whichever role they play."""

    def forward(self, name: str) -> primary_pb2.ForwardStatus:
        stub = primary_pb2_grpc.PrimaryServiceStub(self._channel(name))
        request = primary_pb2.PrimaryServiceGetStatusRequest(group="vm1")
        status: primary_pb2.ForwardStatus = stub.GetStatus(request, timeout=5).groups[0]
        return status

    def replica(self, name: str) -> secondary_pb2.ReplicaStatus:
        stub = secondary_pb2_grpc.SecondaryServiceStub(self._channel(name))
        request = secondary_pb2.SecondaryServiceGetStatusRequest(group="vm1")
        status: secondary_pb2.ReplicaStatus = stub.GetStatus(request, timeout=5).groups[
            0
        ]
        return status

    def roll_back(self, name: str) -> None:
        stub = secondary_pb2_grpc.SecondaryServiceStub(self._channel(name))
        request = secondary_pb2.SecondaryServiceStopReplicationRequest(
            group="vm1",
            generation=self.group().generation,
            mode=secondary_pb2.STOP_MODE_ROLLBACK,
        )
        stub.StopReplication(request, timeout=20)

    def reprotect(
        self,
        discard: coordinator_pb2.Side.ValueType = coordinator_pb2.SIDE_UNSPECIFIED,
        *,
        dry_run: bool = False,
    ) -> coordinator_pb2.RoleChange:
        request = coordinator_pb2.ReprotectRequest(
            group="vm1", discard=discard, dry_run=dry_run
        )
        change: coordinator_pb2.RoleChange = self.coordinator.Reprotect(
            request, timeout=30
        ).change
        return change

    def switchover(self) -> None:
        request = coordinator_pb2.SwitchoverRequest(group="vm1")
        self.coordinator.Switchover(request, timeout=60)

    def failback(self) -> None:
        request = coordinator_pb2.FailbackRequest(group="vm1")
        self.coordinator.Failback(request, timeout=60)

    def kill_and_fail_over(self) -> None:
        """The primary dies, its VM's disk is the secondary's."""
        self.kill("primary")
        self.failover(force=True)
        self.wait_flushed()

    def assert_equal_images(self) -> None:
        for number in range(len(self.sizes)):
            ours = self.image("primary", number).read_bytes()
            assert self.image("secondary", number).read_bytes() == ours, number


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with started(Pair(tmp_path, sizes=(64 * MIB, 3 * MIB + 512))) as pair:
        yield pair


def test_survivor_of_a_failover_is_protected_by_the_old_primary_and_goes_home(
    pair: Pair,
) -> None:
    with NbdClient(pair.nbd["primary"], "disk0") as vm:
        for at in range(0, 16 * MIB, MIB):
            vm.write(at, bytes([at // MIB + 1]) * MIB)
        committed = pair.checkpoint()
        pair.pause()
        vm.write(3 * MIB, b"lost" * 1024)  # ahead of the checkpoint
        vm.write(40 * MIB, b"lost" * 1024)
        pair.kill_and_fail_over()
    with NbdClient(pair.nbd["secondary"], "disk0") as vm:
        # One connection, through the promotion.
        vm.write(10 * MIB + 100, b"kept" * 64)
        vm.write(50 * MIB, b"kept" * 1024)
        pair.start("primary")
        wait_until(
            lambda: pair.group().primary.state == types_pb2.FORWARD_STATE_FENCED,
            "the old primary is fenced",
        )
        with (
            NbdClient(pair.nbd["primary"], "disk0") as stale,
            pytest.raises(NbdReplyError),
        ):
            stale.write(0, b"x")
        # Nothing is given up without a name.
        with pytest.raises(grpc.RpcError) as refusal:
            pair.reprotect()
        assert "--discard primary" in str(refusal.value)
        assert pair.group().state == FAILED_OVER
        change = pair.reprotect(coordinator_pb2.SIDE_PRIMARY, dry_run=True)
        assert change.loser == coordinator_pb2.SIDE_PRIMARY
        assert change.loser_address == pair.address("primary")
        # Besides, what a lazily cleared intent log still has of the checkpoint.
        assert 2 * REGION <= change.lost_bytes <= 18 * MIB
        assert pair.group().state == FAILED_OVER
        pair.reprotect(coordinator_pb2.SIDE_PRIMARY)
        vm.write(11 * MIB, b"after" * 100)
        pair.resume()
        pair.wait_state(PROTECTED)
        status = pair.forward("secondary")
        assert status.resync_plan == types_pb2.RESYNC_PLAN_UNION
        assert status.resync_total_bytes <= change.compared_bytes + REGION
        # Only regions that differ: two of the old primary, two of the survivor.
        assert status.resent_bytes <= 5 * REGION
        assert pair.group().reversed
        assert pair.group().committed_epoch > committed
        pair.checkpoint()
        pair.assert_equal_images()
        assert vm.read(3 * MIB, 4096) == bytes([4]) * 4096
    pair.failback()
    pair.wait_state(PROTECTED)
    assert not pair.group().reversed
    with NbdClient(pair.nbd["primary"], "disk0") as vm:
        assert vm.read(10 * MIB + 100, 256) == b"kept" * 64
        assert vm.read(50 * MIB, 4096) == b"kept" * 1024
        assert vm.read(11 * MIB, 500) == b"after" * 100
        vm.write(0, b"home")
    pair.checkpoint()
    pair.assert_equal_images()
