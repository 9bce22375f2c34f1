"""The two sides of a group as the coordinator calls them; every call has a deadline."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from blkcolo.rpc.client import call
from blkcolo.v1 import node_pb2, primary_pb2, secondary_pb2
from blkcolo_coordinator.peers.node_channel import Joint

if TYPE_CHECKING:
    import asyncio

    from blkcolo.addresses import Address
    from blkcolo.v1.node_pb2 import GroupRole
    from blkcolo.v1.node_pb2_grpc import NodeServiceAsyncStub
    from blkcolo.v1.primary_pb2 import ForwardStatus, VerifyReport
    from blkcolo.v1.primary_pb2_grpc import PrimaryServiceAsyncStub
    from blkcolo.v1.secondary_pb2 import CheckpointEntry, ReplicaStatus
    from blkcolo.v1.secondary_pb2_grpc import SecondaryServiceAsyncStub
    from blkcolo.v1.types_pb2 import Volume
    from blkcolo_coordinator.core.watch_plan import WatchPlan
    from blkcolo_coordinator.peers.node_channel import NodeChannel

StopMode = secondary_pb2.StopMode

# What a checkpoint needs, and a look: the calls of several groups may go together.
_PRIMARY_STATUS = Joint("primary_status", lambda node: node.primary.GetStatus)
_PRIMARY_PREPARE = Joint("primary_prepare", lambda node: node.primary.PrepareCheckpoint)
_PRIMARY_DO = Joint("primary_do", lambda node: node.primary.DoCheckpoint)
_SECONDARY_STATUS = Joint("secondary_status", lambda node: node.secondary.GetStatus)
_SECONDARY_PREPARE = Joint(
    "secondary_prepare", lambda node: node.secondary.PrepareCheckpoint
)
_SECONDARY_DO = Joint("secondary_do", lambda node: node.secondary.DoCheckpoint)


def _watch_timeout(seconds: float, timeout: float) -> float:
    """The deadline of a call that waits; one for many, so that they go together."""
    return ceil(seconds) + timeout


class NodePeer:
    """One group on one of its nodes, in whichever role. Methods raise BlkcoloError."""

    def __init__(
        self, group: str, address: Address, timeout: float, channel: NodeChannel
    ) -> None:
        """Takes the node's channel; `timeout` in seconds holds for each call."""
        self._group = group
        self._peer = f"node {address}"
        self._timeout = timeout
        self._channel = channel

    @property
    def _stub(self) -> NodeServiceAsyncStub:
        return self._channel.stubs.node

    async def role(self) -> GroupRole:
        """Asks for the group's role."""
        request = node_pb2.GetRolesRequest(group=self._group)
        answer = await call(self._stub.GetRoles, request, self._timeout, self._peer)
        return answer.groups[0]

    async def demote(self, generation: int) -> None:
        """Makes it secondary."""
        request = node_pb2.DemoteRequest(group=self._group, generation=generation)
        await call(self._stub.Demote, request, self._timeout, self._peer)

    async def promote(self, generation: int) -> None:
        """Makes it primary."""
        request = node_pb2.PromoteRequest(group=self._group, generation=generation)
        await call(self._stub.Promote, request, self._timeout, self._peer)


class PrimaryPeer:
    """One group on its primary. All methods raise BlkcoloError."""

    def __init__(
        self, group: str, address: Address, timeout: float, channel: NodeChannel
    ) -> None:
        """Takes the node's channel; `timeout` in seconds holds for each call."""
        self._group = group
        self._peer = f"primary {address}"
        self._timeout = timeout
        self._channel = channel

    @property
    def _stub(self) -> PrimaryServiceAsyncStub:
        return self._channel.stubs.primary

    async def status(self) -> ForwardStatus:
        """Asks for the group's state."""
        request = primary_pb2.PrimaryServiceGetStatusRequest(group=self._group)
        answer = await self._channel.call(
            _PRIMARY_STATUS, request, self._timeout, self._peer
        )
        return answer.groups[0]

    def watch(
        self, plan: WatchPlan, seconds: float
    ) -> asyncio.Future[primary_pb2.PrimaryServiceGetStatusResponse]:
        """The same, when there is something to act on or `seconds` have passed."""
        watch = primary_pb2.ForwardWatch(
            seconds=seconds,
            beat_seconds=plan.beat,
            generation=plan.generation,
            epoch=plan.epoch,
            sent_bytes=plan.sent_bytes,
            written=plan.written,
        )
        request = primary_pb2.PrimaryServiceGetStatusRequest(
            group=self._group,
            quiet_seconds=seconds if plan.written else 0.0,  # an older version waits
            watch=watch,
        )
        timeout = _watch_timeout(seconds, self._timeout)
        return self._channel.begin(_PRIMARY_STATUS, request, timeout, self._peer)

    async def start(
        self,
        generation: int,
        secondary: str,
        *,
        discard_secondary: bool,
        stop_mark: int,
    ) -> None:
        """Starts replication, unless it was stopped since that mark was seen."""
        request = primary_pb2.StartReplicationRequest(
            group=self._group,
            generation=generation,
            secondary_address=secondary,
            discard_secondary=discard_secondary,
            stop_mark=stop_mark,
        )
        await call(self._stub.StartReplication, request, self._timeout, self._peer)

    async def prepare(self, epoch: int, generation: int) -> int:
        """Puts the barrier into the stream; returns its seq."""
        request = primary_pb2.PrimaryServicePrepareCheckpointRequest(
            group=self._group, generation=generation, epoch=epoch
        )
        answer = await self._channel.call(
            _PRIMARY_PREPARE, request, self._timeout, self._peer
        )
        return answer.barrier_seq

    async def do_checkpoint(self, epoch: int, generation: int) -> None:
        """Tells of a commit."""
        request = primary_pb2.PrimaryServiceDoCheckpointRequest(
            group=self._group, generation=generation, epoch=epoch
        )
        await self._channel.call(_PRIMARY_DO, request, self._timeout, self._peer)

    async def stop(self, generation: int, *, drain: bool, timeout: float) -> None:
        """Ends forwarding."""
        request = primary_pb2.PrimaryServiceStopReplicationRequest(
            group=self._group, generation=generation, drain=drain
        )
        await call(self._stub.StopReplication, request, timeout, self._peer)

    async def hold(self, generation: int, seconds: float) -> None:
        """Lets VM writes wait for so long at most; 0: they go on."""
        request = primary_pb2.HoldRequest(
            group=self._group, generation=generation, seconds=seconds
        )
        await call(self._stub.Hold, request, self._timeout, self._peer)

    async def fence(
        self, generation: int, nothing_after_epoch: int | None = None
    ) -> None:
        """Refuses VM writes from here on; with an epoch, only if none came after."""
        request = primary_pb2.FenceRequest(
            group=self._group,
            generation=generation,
            nothing_after_epoch=nothing_after_epoch,
        )
        await call(self._stub.Fence, request, self._timeout, self._peer)

    async def verify(
        self, generation: int, number: int, timeout: float
    ) -> VerifyReport:
        """Starts a verify, or waits for one."""
        request = primary_pb2.PrimaryServiceVerifyRequest(
            group=self._group, generation=generation, number=number
        )
        answer = await call(self._stub.Verify, request, timeout, self._peer)
        return answer.report

    async def grow(self, volume: str, size: int, generation: int) -> Volume:
        """Makes a volume larger; its secondary is before."""
        request = primary_pb2.PrimaryServiceGrowVolumeRequest(
            group=self._group, generation=generation, volume=volume, size_bytes=size
        )
        answer = await call(self._stub.GrowVolume, request, self._timeout, self._peer)
        return answer.volume


class SecondaryPeer:
    """One group on its secondary. All methods raise BlkcoloError."""

    def __init__(
        self, group: str, address: Address, timeout: float, channel: NodeChannel
    ) -> None:
        """Takes the node's channel; `timeout` in seconds holds for each call."""
        self._group = group
        self._peer = f"secondary {address}"
        self._timeout = timeout
        self._channel = channel

    @property
    def _stub(self) -> SecondaryServiceAsyncStub:
        return self._channel.stubs.secondary

    async def status(self) -> ReplicaStatus:
        """Asks for the group's state."""
        request = secondary_pb2.SecondaryServiceGetStatusRequest(group=self._group)
        answer = await self._channel.call(
            _SECONDARY_STATUS, request, self._timeout, self._peer
        )
        return answer.groups[0]

    def watch(
        self, plan: WatchPlan, seconds: float
    ) -> asyncio.Future[secondary_pb2.SecondaryServiceGetStatusResponse]:
        """The same, when there is something to act on or `seconds` have passed."""
        watch = secondary_pb2.ReplicaWatch(
            seconds=seconds,
            beat_seconds=plan.beat,
            generation=plan.generation,
            buffer_bytes=plan.buffer_bytes,
            written=plan.written,
        )
        request = secondary_pb2.SecondaryServiceGetStatusRequest(
            group=self._group, watch=watch
        )
        timeout = _watch_timeout(seconds, self._timeout)
        return self._channel.begin(_SECONDARY_STATUS, request, timeout, self._peer)

    async def prepare(
        self, epoch: int, generation: int, barrier_seq: int, timeout: float
    ) -> None:
        """Waits until the epoch is received, saved and applied."""
        request = secondary_pb2.SecondaryServicePrepareCheckpointRequest(
            group=self._group,
            generation=generation,
            epoch=epoch,
            barrier_seq=barrier_seq,
        )
        await self._channel.call(_SECONDARY_PREPARE, request, timeout, self._peer)

    async def do_checkpoint(self, epoch: int, generation: int) -> None:
        """Commits."""
        request = secondary_pb2.SecondaryServiceDoCheckpointRequest(
            group=self._group, generation=generation, epoch=epoch
        )
        await self._channel.call(_SECONDARY_DO, request, self._timeout, self._peer)

    async def stop(
        self,
        generation: int,
        mode: StopMode.ValueType,
        timeout: float,
        epoch: int | None = None,
    ) -> None:
        """Ends replication; with FAILOVER at a kept checkpoint, if one is named."""
        request = secondary_pb2.SecondaryServiceStopReplicationRequest(
            group=self._group, generation=generation, mode=mode, epoch=epoch
        )
        await call(self._stub.StopReplication, request, timeout, self._peer)

    async def checkpoints(self) -> list[CheckpointEntry]:
        """Lists the checkpoints that failover can lead to."""
        request = secondary_pb2.SecondaryServiceListCheckpointsRequest(
            group=self._group
        )
        answer = await call(
            self._stub.ListCheckpoints, request, self._timeout, self._peer
        )
        return list(answer.checkpoints)

    async def grow(self, volume: str, size: int, generation: int) -> None:
        """Makes a volume larger."""
        request = secondary_pb2.SecondaryServiceGrowVolumeRequest(
            group=self._group, generation=generation, volume=volume, size_bytes=size
        )
        await call(self._stub.GrowVolume, request, self._timeout, self._peer)
