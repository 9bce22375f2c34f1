"""Roles change and change back: nothing is copied twice, and nothing is lost."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import grpc
import pytest

from blkcolo.v1 import (
    coordinator_pb2,
    node_pb2,
    node_pb2_grpc,
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

    def stop_replica(
        self, name: str, generation: int, mode: secondary_pb2.StopMode.ValueType
    ) -> None:
        stub = secondary_pb2_grpc.SecondaryServiceStub(self._channel(name))
        request = secondary_pb2.SecondaryServiceStopReplicationRequest(
            group="vm1", generation=generation, mode=mode
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

    def change_roles_by_hand(self, generation: int) -> None:
        """As a coordinator does: demote, promote, start; but no checkpoint."""
        nodes = {
            name: node_pb2_grpc.NodeServiceStub(self._channel(name))
            for name in ("primary", "secondary")
        }
        demote = node_pb2.DemoteRequest(group="vm1", generation=generation)
        promote = node_pb2.PromoteRequest(group="vm1", generation=generation)
        for _ in range(2):  # both answer the same when repeated
            nodes["primary"].Demote(demote, timeout=10)
            nodes["secondary"].Promote(promote, timeout=10)
        start = primary_pb2.StartReplicationRequest(
            group="vm1",
            generation=generation,
            secondary_address=self.address("primary"),
        )
        stub = primary_pb2_grpc.PrimaryServiceStub(self._channel("secondary"))
        stub.StartReplication(start, timeout=10)

    def kill_and_fail_over(self) -> None:
        """The primary dies, its VM's disk is the secondary's."""
        self.kill("primary")
        self.failover(force=True)
        self.wait_flushed()

    def bring_back_the_old_primary(self) -> None:
        self.start("primary")
        fenced = types_pb2.FORWARD_STATE_FENCED
        wait_until(lambda: self.group().primary.state == fenced, "it is fenced")

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
        pair.bring_back_the_old_primary()
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


def test_failover_to_an_older_checkpoint_gives_up_all_that_came_behind_it(
    tmp_path: Path,
) -> None:
    """The old primary's intent log is clean: what it lost was committed, and undone."""
    keep = "history.keep = 4\n"
    with started(Pair(tmp_path, sizes=(16 * MIB,), secondary_options=keep)) as pair:
        with NbdClient(pair.nbd["primary"], "disk0") as vm:
            vm.write(MIB, b"good" * 16384)
            chosen = pair.checkpoint()
            at_chosen = pair.image("primary").read_bytes()
            began = time.time()
            for at in (2 * MIB, 5 * MIB):
                vm.write(at, b"spoilt" * 1000)
                pair.checkpoint()
            vm.write(7 * MIB, b"lost" * 1024)
            written = time.time() - began
        pair.pause()
        pair.failover(epoch=chosen)
        pair.wait_flushed()
        assert pair.image("secondary").read_bytes() == at_chosen
        for cost in (pair.reprotect(dry_run=True), pair.reprotect(dry_run=True)):
            assert cost.loser == coordinator_pb2.SIDE_PRIMARY
            assert cost.lost_bytes >= 3 * REGION
            assert written - 0.5 <= cost.lost_seconds <= written + 5
        with pytest.raises(grpc.RpcError) as refusal:
            pair.reprotect()
        assert "--discard primary" in str(refusal.value)
        with NbdClient(pair.nbd["secondary"], "disk0") as vm:
            vm.write(9 * MIB, b"goes on")
            pair.reprotect(coordinator_pb2.SIDE_PRIMARY)
            pair.resume()
            pair.wait_state(PROTECTED)
            status = pair.forward("secondary")
            assert status.resync_plan == types_pb2.RESYNC_PLAN_UNION
            assert status.resent_bytes <= 6 * REGION
            pair.checkpoint()
            pair.assert_equal_images()
            assert vm.read(2 * MIB, 6000) == bytes(6000)
            assert vm.read(MIB, 4) == b"good"
        pair.failback()
        pair.wait_state(PROTECTED)
        pair.checkpoint()
        pair.assert_equal_images()


def test_discarded_contents_come_back_before_the_first_checkpoint(pair: Pair) -> None:
    with NbdClient(pair.nbd["primary"], "disk0") as vm:
        vm.write(0, b"checkpoint" * 400)
        pair.checkpoint()
        pair.pause()
        vm.write(0, b"discarded!" * 400)
        vm.write(20 * MIB, b"discarded!" * 400)
    pair.kill_and_fail_over()
    generation = pair.group().generation
    pair.stop("coordinator")
    with NbdClient(pair.nbd["secondary"], "disk1") as vm:
        vm.write(MIB, b"survivor" * 512)
    discarded = [pair.image("primary", number).read_bytes() for number in range(2)]
    pair.start("primary")
    pair.change_roles_by_hand(generation + 1)
    replicating = types_pb2.FORWARD_STATE_REPLICATING
    wait_until(lambda: pair.forward("secondary").state == replicating, "they agree")
    pair.assert_equal_images()
    for name in ("primary", "secondary"):  # both come back in their new roles
        pair.kill(name)
        pair.start(name)
    with pytest.raises(grpc.RpcError) as refusal:
        pair.stop_replica("primary", generation + 1, secondary_pb2.STOP_MODE_FAILOVER)
    assert "no committed checkpoint" in str(refusal.value)
    pair.stop_replica("primary", generation + 1, secondary_pb2.STOP_MODE_ROLLBACK)
    assert [pair.image("primary", n).read_bytes() for n in range(2)] == discarded


class Writer:
    """A VM that writes block after block, and knows which were answered."""

    def __init__(self, port: int) -> None:
        self.answered = 0
        self._vm = NbdClient(port, "disk0")
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            while self.answered < 8192:
                number = self.answered + 1
                self._vm.write(number * 4096, number.to_bytes(8, "big") * 512)
                self.answered = number
        except (NbdReplyError, OSError):
            pass  # its primary is one no more

    def join(self) -> int:
        self._thread.join(30)
        assert not self._thread.is_alive()
        self._vm.socket.close()
        return self.answered


def assert_answered_writes(port: int, answered: int) -> None:
    with NbdClient(port, "disk0") as vm:
        for number in range(1, answered + 1):
            expected = number.to_bytes(8, "big") * 512
            assert vm.read(number * 4096, 4096) == expected, number


def test_switchover_under_load_loses_no_answered_write(pair: Pair) -> None:
    writer = Writer(pair.nbd["primary"])
    wait_until(lambda: writer.answered > 100, "the VM writes")
    pair.switchover()
    assert_answered_writes(pair.nbd["secondary"], writer.join())
    pair.wait_state(PROTECTED)
    assert pair.group().reversed
    with pytest.raises(grpc.RpcError) as refusal:
        pair.reprotect()
    assert "FAILED_OVER" in str(refusal.value)
    pair.checkpoint()
    pair.assert_equal_images()
    # The way home, on the other side's writes.
    writer = Writer(pair.nbd["secondary"])
    wait_until(lambda: writer.answered > 100, "the VM writes")
    pair.failback()
    assert_answered_writes(pair.nbd["primary"], writer.join())
    pair.wait_state(PROTECTED)
    with pytest.raises(grpc.RpcError) as refusal:
        pair.failback()
    assert "as configured" in str(refusal.value)


def test_survivor_that_dies_before_its_first_checkpoint_leaves_what_was_discarded(
    pair: Pair,
) -> None:
    """One disk is left: the old primary's, as it was before it was to be a copy."""
    with NbdClient(pair.nbd["primary"], "disk0") as vm:
        vm.write(0, b"checkpoint" * 400)
        pair.checkpoint()
        pair.pause()
        vm.write(MIB, b"discarded" * 400)
    pair.kill_and_fail_over()
    left_at = time.time()
    with NbdClient(pair.nbd["secondary"], "disk0") as vm:
        for at in range(2 * MIB, 62 * MIB, MIB):  # a resync of a second or so
            vm.write(at, b"survivor" * (MIB // 8))
    pair.bring_back_the_old_primary()
    discarded = [pair.image("primary", number).read_bytes() for number in range(2)]
    pair.reprotect(coordinator_pb2.SIDE_PRIMARY)
    wait_until(lambda: pair.replica("primary").buffer_bytes > 0, "it is overwritten")
    pair.kill("secondary")
    assert not pair.replica("primary").HasField("committed_epoch")
    assert pair.image("primary").read_bytes() != discarded[0]
    with pytest.raises(grpc.RpcError) as refusal:
        pair.failover(force=True)
    assert "blkcolo stop vm1" in str(refusal.value)
    stop = coordinator_pb2.StopReplicationRequest(group="vm1")
    pair.coordinator.StopReplication(stop, timeout=30)
    pair.failover(force=True)
    failed_over = types_pb2.REPLICA_STATE_FAILED_OVER
    wait_until(lambda: pair.replica("primary").state == failed_over, "flushed")
    for number in range(2):
        assert pair.image("primary", number).read_bytes() == discarded[number]
    with NbdClient(pair.nbd["primary"], "disk0") as vm:
        assert vm.read(MIB, 9) == b"discarded"
        vm.write(3 * MIB, b"goes on")
        pair.kill("primary")  # the state holds
        pair.start("primary")
    with NbdClient(pair.nbd["primary"], "disk0") as vm:
        vm.write(4 * MIB, b"goes on")
        # The survivor comes back, and loses what it wrote alone.
        pair.start("secondary")
        fenced = types_pb2.FORWARD_STATE_FENCED
        wait_until(lambda: pair.group().primary.state == fenced, "it is fenced")
        cost = pair.reprotect(dry_run=True)
        assert cost.loser_address == pair.address("secondary")
        assert cost.lost_bytes >= REGION
        assert cost.lost_seconds <= time.time() - left_at + 1
        pair.reprotect(coordinator_pb2.SIDE_PRIMARY)
        pair.resume()
        pair.wait_state(PROTECTED)
        assert pair.forward("primary").resync_plan == types_pb2.RESYNC_PLAN_UNION
        pair.checkpoint()
        pair.assert_equal_images()
        assert vm.read(4 * MIB, 7) == b"goes on"
        assert vm.read(2 * MIB, 8) == bytes(8)


@pytest.mark.parametrize("victim", ["primary", "secondary", "coordinator"])
def test_reprotect_goes_on_after_the_death_of(pair: Pair, victim: str) -> None:
    with NbdClient(pair.nbd["primary"], "disk0") as vm:
        vm.write(0, b"c" * MIB)
        pair.checkpoint()
        vm.write(MIB, b"d" * MIB)
    pair.kill_and_fail_over()
    pair.bring_back_the_old_primary()
    with NbdClient(pair.nbd["secondary"], "disk0") as vm:
        vm.write(2 * MIB, b"e" * MIB)
    request = coordinator_pb2.ReprotectRequest(
        group="vm1", discard=coordinator_pb2.SIDE_PRIMARY
    )
    call = pair.coordinator.Reprotect.future(request, timeout=20)
    pair.kill(victim)
    pair.start(victim)
    wait_until(call.done, "the call ends", 30)

    def goes_on() -> bool:
        """By itself, once the decision is stored; before that, when asked again."""
        if pair.group().state != FAILED_OVER:
            return True
        try:
            pair.reprotect(coordinator_pb2.SIDE_PRIMARY)
        except grpc.RpcError as error:
            assert "cannot be reached" in str(error)  # noqa: PT017 - nothing else may be
            return False
        return True

    wait_until(goes_on, "the reprotect goes on")
    pair.wait_state(PROTECTED)
    assert pair.group().reversed
    pair.checkpoint()
    pair.assert_equal_images()
    with NbdClient(pair.nbd["secondary"], "disk0") as vm:
        assert vm.read(2 * MIB, MIB) == b"e" * MIB


@pytest.mark.parametrize("victim", ["primary", "secondary", "coordinator"])
def test_switchover_goes_on_or_back_after_the_death_of(pair: Pair, victim: str) -> None:
    writer = Writer(pair.nbd["primary"])
    wait_until(lambda: writer.answered > 100, "the VM writes")
    call = pair.coordinator.Switchover.future(
        coordinator_pb2.SwitchoverRequest(group="vm1"), timeout=30
    )
    pair.kill(victim)
    pair.start(victim)
    wait_until(call.done, "the call ends", 40)
    pair.wait_state(PROTECTED)
    now = "secondary" if pair.group().reversed else "primary"
    assert_answered_writes(pair.nbd[now], writer.join())
    pair.checkpoint()
    pair.assert_equal_images()


def test_survivor_may_be_given_up_instead(pair: Pair) -> None:
    with NbdClient(pair.nbd["primary"], "disk0") as vm:
        vm.write(0, b"c" * 4096)
        pair.checkpoint()
        pair.pause()
        vm.write(MIB, b"p" * 4096)
    pair.failover()
    pair.wait_flushed()
    with NbdClient(pair.nbd["secondary"], "disk0") as vm:
        vm.write(2 * MIB, b"s" * 4096)
        vm.write(MIB, b"s" * 4096)
    change = pair.reprotect(coordinator_pb2.SIDE_SECONDARY)
    assert change.lost_bytes >= 2 * REGION
    pair.resume()
    pair.wait_state(PROTECTED)
    assert not pair.group().reversed
    assert pair.forward("primary").resync_plan == types_pb2.RESYNC_PLAN_UNION
    pair.checkpoint()
    pair.assert_equal_images()
    with NbdClient(pair.nbd["primary"], "disk0") as vm:
        assert vm.read(MIB, 4096) == b"p" * 4096
        assert vm.read(2 * MIB, 4096) == bytes(4096)
        vm.write(0, b"on")


def test_lost_database_of_the_coordinator_is_made_good_by_both_sides(
    pair: Pair,
) -> None:
    pair.switchover()
    pair.wait_state(PROTECTED)
    generation = pair.group().generation
    pair.stop("coordinator")
    for file in (pair.folder / "coordinator").glob("coordinator.sqlite*"):
        file.unlink()
    pair.start("coordinator")
    pair.wait_state(PROTECTED)
    assert pair.group().reversed
    assert pair.group().generation >= generation


def test_everything_holds_with_durability_host(tmp_path: Path) -> None:
    both = 'durability = "host"\n'
    pair = Pair(
        tmp_path,
        sizes=(4 * MIB, 3 * MIB + 512),
        primary_options=both + 'as_secondary.durability = "host"\n',
        secondary_options=both + 'as_primary.durability = "host"\n',
    )
    with started(pair):
        with NbdClient(pair.nbd["primary"], "disk0") as vm:
            vm.write(0, b"c" * 4096)
            pair.checkpoint()
            vm.write(MIB, b"d" * 4096)
        pair.kill_and_fail_over()
        with NbdClient(pair.nbd["secondary"], "disk1") as vm:
            vm.write(2 * MIB, b"e" * 70000)
            pair.bring_back_the_old_primary()
            pair.reprotect(coordinator_pb2.SIDE_PRIMARY)
            vm.write(0, b"f" * 4096)
            pair.wait_state(PROTECTED)
            assert pair.forward("secondary").resync_plan == types_pb2.RESYNC_PLAN_UNION
        pair.failback()
        pair.wait_state(PROTECTED)
        pair.checkpoint()
        pair.assert_equal_images()
        with NbdClient(pair.nbd["primary"], "disk1") as vm:
            assert vm.read(0, 4096) == b"f" * 4096
            assert vm.read(2 * MIB, 70000) == b"e" * 70000


def add_group(stack: Stack, name: str) -> None:
    """A second group on the same nodes."""
    for node in ("primary", "secondary"):
        with stack.config(node).open("a") as config:
            config.write(
                f'[[groups]]\nname = "{name}"\n[[groups.volumes]]\n'
                f'name = "{name}-disk"\npath = "{stack.folder / node}-{name}.img"\n'
                "size = 1048576\n"
            )
    with stack.config("coordinator").open("a") as config:
        config.write(
            f'[[groups]]\nname = "{name}"\nprimary = "{stack.address("primary")}"\n'
            f'secondary = "{stack.address("secondary")}"\n'
        )


def test_two_groups_run_in_opposite_directions_and_stay_so(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    add_group(pair, "vm2")

    def protected() -> bool:
        request = coordinator_pb2.ListGroupsRequest()
        groups = pair.coordinator.ListGroups(request, timeout=5).groups
        return [group.state for group in groups] == [PROTECTED, PROTECTED]

    with started(pair):
        wait_until(protected, "both are protected")
        request = coordinator_pb2.SwitchoverRequest(group="vm2")
        pair.coordinator.Switchover(request, timeout=30)
        for again in (False, True):
            if again:
                pair.stop()
                pair.start()
            wait_until(protected, "both are protected")
            with (
                NbdClient(pair.nbd["primary"], "disk0") as one,
                NbdClient(pair.nbd["secondary"], "vm2-disk") as other,
                NbdClient(pair.nbd["primary"], "vm2-disk") as reader,
            ):
                one.write(0, b"one" * 100)
                other.write(0, b"two" * 100)
                with pytest.raises(NbdReplyError):
                    reader.write(0, b"x")
        for group in ("vm1", "vm2"):
            call = coordinator_pb2.CheckpointRequest(group=group)
            pair.coordinator.Checkpoint(call, timeout=20)
        pair.assert_equal_images()
        images = [tmp_path / f"{node}-vm2.img" for node in ("primary", "secondary")]
        assert images[0].read_bytes() == images[1].read_bytes()
