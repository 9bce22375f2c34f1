"""PrimaryService on the wire: decode, call, encode."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blkcolo.addresses import Address
from blkcolo.errors import Invalid, Reason
from blkcolo.rpc.context import time_left
from blkcolo.rpc.stream_on_wire import encode_volume
from blkcolo.v1 import primary_pb2 as pb
from blkcolo.v1 import primary_pb2_grpc as rpc
from blkcolo.watch import Terms
from blkcolo_primary.core.watch import ForwardWatch
from blkcolo_primary.status import report, state_message, verify_report

if TYPE_CHECKING:
    from collections.abc import Callable

    from blkcolo.roles import GroupsInRole
    from blkcolo.rpc.context import Context
    from blkcolo_primary.runtime.group import ForwardGroup


class PrimaryServicer(rpc.PrimaryServiceServicer):
    """Serves the groups of this primary."""

    def __init__(
        self, groups: GroupsInRole[ForwardGroup], nbd_uri: Callable[[str], str]
    ) -> None:
        """Takes the groups and what turns an export's name into its URI."""
        self._groups = groups
        self._nbd_uri = nbd_uri

    async def StartReplication(
        self, request: pb.StartReplicationRequest, context: Context
    ) -> pb.StartReplicationResponse:
        """Connects to the secondary."""
        group = self._groups.find(request.group)
        try:
            address = Address.parse(request.secondary_address)
        except ValueError as error:
            raise Invalid(Reason.INVALID, f"secondary_address: {error}") from error
        await group.streams.start(
            request.generation,
            address,
            time_left(context),
            discard_secondary=request.discard_secondary,
            stop_mark=request.stop_mark,
        )
        return pb.StartReplicationResponse(
            state=state_message(group.core.state), epoch=group.core.epoch
        )

    async def PrepareCheckpoint(
        self,
        request: pb.PrimaryServicePrepareCheckpointRequest,
        context: Context,  # noqa: ARG002 - gRPC's signature
    ) -> pb.PrimaryServicePrepareCheckpointResponse:
        """Puts the barrier into the stream."""
        group = self._groups.find(request.group)
        seq = group.prepare(request.epoch, request.generation)
        return pb.PrimaryServicePrepareCheckpointResponse(
            epoch=request.epoch,
            barrier_seq=seq,
            sent_bytes=group.core.traffic.recorded_bytes,
        )

    async def DoCheckpoint(
        self,
        request: pb.PrimaryServiceDoCheckpointRequest,
        context: Context,  # noqa: ARG002 - gRPC's signature
    ) -> pb.PrimaryServiceDoCheckpointResponse:
        """Learns of a commit."""
        group = self._groups.find(request.group)
        committed = group.do_checkpoint(request.epoch, request.generation)
        return pb.PrimaryServiceDoCheckpointResponse(committed_epoch=committed)

    async def GetSentDataSize(
        self,
        request: pb.GetSentDataSizeRequest,
        context: Context,  # noqa: ARG002 - gRPC's signature
    ) -> pb.GetSentDataSizeResponse:
        """Reports the sent bytes."""
        core = self._groups.find(request.group).core
        if request.generation:
            core.standing.check_generation(request.generation, may_be_newer=False)
        return pb.GetSentDataSizeResponse(
            sent_bytes=core.traffic.sent_bytes,
            sent_bytes_in_epoch=core.traffic.sent_bytes_in_epoch,
            epoch=core.epoch,
        )

    async def StopReplication(
        self,
        request: pb.PrimaryServiceStopReplicationRequest,
        context: Context,
    ) -> pb.PrimaryServiceStopReplicationResponse:
        """Ends forwarding."""
        group = self._groups.find(request.group)
        await group.stop_replication(
            request.generation, drain=request.drain, timeout=time_left(context)
        )
        return pb.PrimaryServiceStopReplicationResponse(
            state=state_message(group.core.state),
            unreplicated_bytes=group.core.traffic.unreplicated_bytes,
        )

    async def GetStatus(
        self,
        request: pb.PrimaryServiceGetStatusRequest,
        context: Context,
    ) -> pb.PrimaryServiceGetStatusResponse:
        """Reports one group, or all; a watched one when there is something to do."""
        one = self._groups.find(request.group) if request.group else None
        waits = request.HasField("watch") or request.quiet_seconds
        if waits and one is None:
            raise Invalid(
                Reason.INVALID,
                "watch and quiet_seconds are of one group: name it, or leave them out",
            )
        due = None
        if one is not None and request.HasField("watch"):
            due = await _watch(one, request.watch, time_left(context))
        elif one is not None and request.quiet_seconds > 0:
            await one.rest(min(request.quiet_seconds, time_left(context)))
        asked = self._groups.values() if one is None else [one]
        return pb.PrimaryServiceGetStatusResponse(
            groups=[report(group, self._nbd_uri) for group in asked], due=due
        )

    async def Verify(
        self, request: pb.PrimaryServiceVerifyRequest, context: Context
    ) -> pb.PrimaryServiceVerifyResponse:
        """Compares both disks."""
        group = self._groups.find(request.group)
        if request.generation:
            group.core.standing.check_generation(request.generation, may_be_newer=False)
        asked = await group.verify.verify(request.number, time_left(context))
        return pb.PrimaryServiceVerifyResponse(report=verify_report(group, asked))

    async def GrowVolume(
        self,
        request: pb.PrimaryServiceGrowVolumeRequest,
        context: Context,  # noqa: ARG002 - gRPC's signature
    ) -> pb.PrimaryServiceGrowVolumeResponse:
        """Makes a volume larger."""
        group = self._groups.find(request.group)
        grown = await group.grow(request.volume, request.size_bytes, request.generation)
        return pb.PrimaryServiceGrowVolumeResponse(volume=encode_volume(grown))

    async def Hold(
        self,
        request: pb.HoldRequest,
        context: Context,  # noqa: ARG002 - gRPC's signature
    ) -> pb.HoldResponse:
        """Lets VM writes wait."""
        group = self._groups.find(request.group)
        group.hold(request.generation, request.seconds)
        return pb.HoldResponse(epoch=group.core.epoch)

    async def Fence(
        self,
        request: pb.FenceRequest,
        context: Context,  # noqa: ARG002 - gRPC's signature
    ) -> pb.FenceResponse:
        """Refuses VM writes from here on."""
        group = self._groups.find(request.group)
        clean = request.HasField("nothing_after_epoch")
        epoch = request.nothing_after_epoch if clean else None
        await group.fence(request.generation, epoch)
        return pb.FenceResponse(generation=group.core.generation)


async def _watch(group: ForwardGroup, asked: pb.ForwardWatch, left: float) -> bool:
    """Waits for what the caller acts on, but no longer than it waits itself."""
    watch = ForwardWatch(asked.generation, asked.epoch, asked.sent_bytes, asked.written)
    terms = Terms(asked.seconds, left, asked.beat_seconds)
    return await group.watch(watch, terms)
