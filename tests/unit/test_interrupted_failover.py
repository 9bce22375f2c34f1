"""Failovers that are interrupted, with both nodes played by the test."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest

from blkcolo.errors import Reason, Refused, Unavailable
from blkcolo.v1 import types_pb2
from blkcolo.v1.primary_pb2 import ForwardStatus
from blkcolo.v1.secondary_pb2 import CheckpointEntry, ReplicaStatus
from blkcolo_coordinator.core.group_record import GroupRecord
from blkcolo_coordinator.core.group_state import GroupState
from blkcolo_coordinator.peers import node_views
from blkcolo_coordinator.peers.peer_steps import PeerSteps
from blkcolo_coordinator.record.store import Store
from blkcolo_coordinator.runtime.driven_group import DrivenGroup
from blkcolo_coordinator.runtime.role_changes import RoleChanges
from blkcolo_coordinator.settings import CoordinatorSettings

if TYPE_CHECKING:
    from pathlib import Path

    from blkcolo_coordinator.peers.pair import Pair
    from blkcolo_coordinator.runs.roles import NodeView
    from blkcolo_coordinator.runtime.checkpointer import Checkpointer
    from blkcolo_coordinator.runtime.counts import CoordinatorMetrics

KEPT = {5: 500.0, 6: 600.0, 7: 700.0}


class Secondary:
    """Keeps three checkpoints; its first stop gets lost on the way."""

    def __init__(self) -> None:
        self.shown = 7
        self.kept = dict(KEPT)
        self.state = types_pb2.REPLICA_STATE_RECEIVING
        self.stops: list[int | None] = []

    async def status(self) -> ReplicaStatus:
        return ReplicaStatus(state=self.state, committed_epoch=self.shown)

    async def checkpoints(self) -> list[CheckpointEntry]:
        return [
            CheckpointEntry(epoch=epoch, committed_timestamp_seconds=at)
            for epoch, at in self.kept.items()
        ]

    async def stop(
        self, generation: int, mode: int, timeout: float, epoch: int | None = None
    ) -> None:
        self.stops.append(epoch)
        if len(self.stops) == 1:
            raise Unavailable(Reason.PEER_UNREACHABLE, "lost on the way")
        self.shown = epoch or self.shown
        self.state = types_pb2.REPLICA_STATE_FAILED_OVER


class Overtaken(Secondary):
    """Another call reaches it between the look at what it keeps and the first stop."""

    async def stop(
        self, generation: int, mode: int, timeout: float, epoch: int | None = None
    ) -> None:
        if not self.stops:
            self.overtake()
        held = list(self.kept)
        if self.state == types_pb2.REPLICA_STATE_FAILED_OVER:
            held = [self.shown]
        self.stops.append(epoch)
        if epoch is None or epoch in held:
            self.shown = epoch or self.shown
            self.state = types_pb2.REPLICA_STATE_FAILED_OVER
            return
        raise Refused(Reason.NO_CHECKPOINT, f"does not hold {epoch}, it holds {held}")

    async def checkpoints(self) -> list[CheckpointEntry]:
        if self.state == types_pb2.REPLICA_STATE_FAILED_OVER:
            return []
        return await super().checkpoints()

    def overtake(self) -> None:
        """The late stop of a switchover: failed over, to the last checkpoint."""
        self.state = types_pb2.REPLICA_STATE_FAILED_OVER


class Pruned(Overtaken):
    """A late commit prunes what the failover is to lead to."""

    def overtake(self) -> None:
        self.kept = {6: 600.0, 7: 700.0, 8: 800.0}
        self.shown = 8


class Primary:
    """Takes every fence, unless it is dead."""

    dead = False

    async def status(self) -> ForwardStatus:
        self._answer()
        return ForwardStatus(state=types_pb2.FORWARD_STATE_FENCED, generation=1)

    async def fence(self, generation: int) -> None:
        self._answer()

    def _answer(self) -> None:
        if self.dead:
            raise Unavailable(Reason.PEER_UNREACHABLE, "dead")


class Nodes:
    def __init__(self) -> None:
        self.primary = Primary()
        self.secondary = Secondary()

    def view_of_primary(self, status: ForwardStatus) -> NodeView:
        return node_views.of_primary("127.0.0.1:1", status)


def start(folder: Path, nodes: Nodes) -> tuple[DrivenGroup, RoleChanges]:
    """A coordinator that begins with what the store says."""
    store = Store(folder / "store.sqlite")
    records = store.groups() or [
        GroupRecord(
            "vm1", "127.0.0.1:1", "127.0.0.1:2", committed=7, committed_at=700.0
        )
    ]
    settings, pair = CoordinatorSettings(data_dir=folder), cast("Pair", nodes)
    metrics = cast("CoordinatorMetrics", None)
    group = DrivenGroup(records[0], store, pair, settings, metrics)
    steps = PeerSteps(pair, settings)
    return group, RoleChanges(group, steps, cast("Checkpointer", None))


@pytest.mark.parametrize("restart", [False, True])
def test_interrupted_failover_leads_to_the_checkpoint_that_was_chosen(
    tmp_path: Path, restart: bool
) -> None:
    async def scenario() -> None:
        nodes = Nodes()
        group, roles = start(tmp_path, nodes)
        with pytest.raises(Unavailable):
            await roles.failovers.fail_over(force=False, epoch=5)
        assert group.record.state is GroupState.FAILING_OVER
        if restart:
            group, roles = start(tmp_path, nodes)
        await roles.go_on()
        assert nodes.secondary.stops == [5, 5]
        assert group.record.state is GroupState.FAILED_OVER
        assert (group.record.committed, group.record.committed_at) == (5, 500.0)

    asyncio.run(scenario())


def test_failover_that_is_called_again_leads_to_the_same_checkpoint(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        nodes = Nodes()
        _, roles = start(tmp_path, nodes)
        with pytest.raises(Unavailable):
            await roles.failovers.fail_over(force=False, epoch=5)
        assert await roles.failovers.fail_over(force=False, epoch=None)
        assert nodes.secondary.stops == [5, 5]

    asyncio.run(scenario())


@pytest.mark.parametrize("restart", [False, True])
def test_interrupted_failover_that_was_forced_stays_forced(
    tmp_path: Path, restart: bool
) -> None:
    async def scenario() -> None:
        nodes = Nodes()
        nodes.primary.dead = True
        group, roles = start(tmp_path, nodes)
        with pytest.raises(Unavailable):  # the secondary has not heard of it
            await roles.failovers.fail_over(force=True, epoch=None)
        if restart:
            group, roles = start(tmp_path, nodes)
        await roles.go_on()
        assert group.record.state is GroupState.FAILED_OVER

    asyncio.run(scenario())


def test_next_failover_is_not_forced_because_the_last_one_was(tmp_path: Path) -> None:
    async def scenario() -> None:
        nodes = Nodes()
        nodes.primary.dead = True
        nodes.secondary.stops = [None]  # the next one arrives
        group, roles = start(tmp_path, nodes)
        await roles.failovers.fail_over(force=True, epoch=None)
        group.update(durable=True, state=GroupState.UNPROTECTED)
        nodes.secondary.state = types_pb2.REPLICA_STATE_RECEIVING
        with pytest.raises(Refused, match="fail over with force"):
            await roles.failovers.fail_over(force=False, epoch=None)
        assert group.record.state is GroupState.UNPROTECTED

    asyncio.run(scenario())


class Gone:
    """A secondary that does not answer; nobody knows what it has heard."""

    async def status(self) -> ReplicaStatus:
        raise Unavailable(Reason.PEER_UNREACHABLE, "no answer")


@pytest.mark.parametrize("restart", [False, True])
def test_failover_that_gets_no_answer_behind_a_switchover_fence_is_repeated(
    tmp_path: Path, restart: bool
) -> None:
    async def scenario() -> None:
        nodes = Nodes()
        nodes.primary.dead = True  # it was fenced before
        group, roles = start(tmp_path, nodes)
        group.update(durable=True, state=GroupState.SWITCHING_OVER, fenced_clean=True)
        there, nodes.secondary = nodes.secondary, cast("Secondary", Gone())
        with pytest.raises(Unavailable):
            await roles.failovers.fail_over(force=False, epoch=None)
        if restart:
            group, roles = start(tmp_path, nodes)
        with pytest.raises(Unavailable):
            await roles.go_on()
        assert group.record.state is GroupState.FAILING_OVER
        nodes.secondary = there
        there.state = types_pb2.REPLICA_STATE_FAILED_OVER  # the switchover's stop came
        there.stops = [None]
        await roles.go_on()
        [stored] = Store(tmp_path / "store.sqlite").groups()
        assert (stored.state, stored.fenced_clean) == (GroupState.FAILED_OVER, False)

    asyncio.run(scenario())


def test_failover_that_gets_no_answer_before_the_fence_leaves_the_old_roles(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        nodes = Nodes()
        group, roles = start(tmp_path, nodes)
        group.update(durable=True, state=GroupState.SWITCHING_OVER)
        nodes.secondary = cast("Secondary", Gone())
        with pytest.raises(Unavailable):
            await roles.failovers.fail_over(force=False, epoch=None)
        assert group.record.state is GroupState.UNPROTECTED

    asyncio.run(scenario())


def test_switchover_that_goes_on_stores_the_fence_before_the_secondary_hears_of_it(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        nodes = Nodes()
        group, roles = start(tmp_path, nodes)
        group.update(durable=True, state=GroupState.SWITCHING_OVER)
        await group.ask_both()
        with pytest.raises(Unavailable):  # the stop is lost on the way
            await roles.go_on()
        assert Store(tmp_path / "store.sqlite").groups()[0].fenced_clean

    asyncio.run(scenario())


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("again", [None, 7])
def test_failover_that_another_stop_overtook_goes_on_from_where_that_led(
    tmp_path: Path, restart: bool, again: int | None
) -> None:
    async def scenario() -> None:
        nodes = Nodes()
        nodes.secondary = Overtaken()
        group, roles = start(tmp_path, nodes)
        group.update(durable=True, state=GroupState.SWITCHING_OVER, fenced_clean=True)
        with pytest.raises(Refused, match=r"does not hold 5, it holds \[7\]"):
            await roles.failovers.fail_over(force=False, epoch=5)
        assert group.record.state is GroupState.FAILING_OVER
        if restart:
            group, roles = start(tmp_path, nodes)
        with pytest.raises(Refused, match="it holds 7; name one of these"):
            await roles.failovers.fail_over(force=False, epoch=5)
        if again is None:
            await roles.go_on()
        await roles.failovers.fail_over(force=False, epoch=again)
        assert nodes.secondary.shown == 7
        record = group.record
        assert (record.state, record.committed) == (GroupState.FAILED_OVER, 7)
        assert record.failover_to == 7  # it is chosen: the bounds of a cost stay wide

    asyncio.run(scenario())


@pytest.mark.parametrize("again", [None, 6])
@pytest.mark.parametrize("fenced", [False, True])
def test_failover_to_a_checkpoint_that_a_late_commit_pruned_leaves_the_old_roles(
    tmp_path: Path, again: int | None, fenced: bool
) -> None:
    async def scenario() -> None:
        nodes = Nodes()
        nodes.secondary = Pruned()
        group, roles = start(tmp_path, nodes)
        state = GroupState.SWITCHING_OVER if fenced else GroupState.PROTECTED
        group.update(durable=True, state=state, fenced_clean=fenced)
        with pytest.raises(Refused, match=r"does not hold 5, it holds \[6, 7, 8\]"):
            await roles.failovers.fail_over(force=False, epoch=5)
        with pytest.raises(Refused, match="it holds 6, 7, 8; name one of these"):
            await roles.go_on()
        [stored] = Store(tmp_path / "store.sqlite").groups()
        assert stored.state is GroupState.UNPROTECTED
        await roles.failovers.fail_over(force=False, epoch=again)
        [stored] = Store(tmp_path / "store.sqlite").groups()
        assert stored.state is GroupState.FAILED_OVER
        assert nodes.secondary.shown == (again or 8)

    asyncio.run(scenario())


@pytest.mark.parametrize("state", [GroupState.SWITCHING_OVER, GroupState.UNPROTECTED])
def test_checkpoint_that_a_failed_over_secondary_left_is_refused_and_changes_nothing(
    tmp_path: Path, state: GroupState
) -> None:
    async def scenario() -> None:
        nodes = Nodes()
        nodes.secondary.state = types_pb2.REPLICA_STATE_FAILED_OVER
        group, roles = start(tmp_path, nodes)
        group.update(durable=True, state=state)
        before = group.record
        with pytest.raises(Refused, match="it holds 7; name one of these"):
            await roles.failovers.fail_over(force=False, epoch=5)
        assert group.record == before
        assert nodes.secondary.stops == []

    asyncio.run(scenario())


def test_caller_of_a_failover_that_ends_elsewhere_is_told_where(
    tmp_path: Path,
) -> None:
    class Silent(Overtaken):
        """It does not answer the look before the order."""

        looks = 0

        async def status(self) -> ReplicaStatus:
            self.looks += 1
            if self.looks == 1:
                raise Unavailable(Reason.PEER_UNREACHABLE, "no answer")
            return await super().status()

    async def scenario() -> None:
        nodes = Nodes()
        nodes.secondary = Silent()
        nodes.secondary.overtake()
        group, roles = start(tmp_path, nodes)
        group.update(durable=True, state=GroupState.SWITCHING_OVER, fenced_clean=True)
        with pytest.raises(Refused, match="it holds 7; name one of these"):
            await roles.failovers.fail_over(force=False, epoch=5)
        record = group.record
        assert (record.state, record.committed) == (GroupState.FAILED_OVER, 7)

    asyncio.run(scenario())
