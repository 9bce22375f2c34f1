"""SecondaryService on the wire: decode, call, encode."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc

from blkcolo.errors import DataLoss, DeadlineMissed, Invalid, Reason
from blkcolo.rpc.context import time_left
from blkcolo.rpc.stream_bytes import decode
from blkcolo.rpc.stream_on_wire import encode_response, encode_volume
from blkcolo.stream import Hello
from blkcolo.v1 import secondary_pb2 as pb
from blkcolo.v1 import secondary_pb2_grpc as rpc
from blkcolo.v1 import stream_pb2
from blkcolo.watch import Terms
from blkcolo_secondary.core.stop_plan import StopMode
from blkcolo_secondary.core.watch import ReplicaWatch
from blkcolo_secondary.status import checkpoint_entries, report, state_message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from blkcolo.roles import GroupsInRole
    from blkcolo.rpc.context import Context
    from blkcolo.stream import Request
    from blkcolo_secondary.runtime.group import ReplicaGroup

#: Its full name.
SERVICE = "blkcolo.v1.SecondaryService"
#: How long a stream may say nothing, in seconds.
_HELLO_SECONDS = 10.0


class SecondaryServicer(rpc.SecondaryServiceServicer):
    """Serves the groups of this secondary."""

    def __init__(
        self, groups: GroupsInRole[ReplicaGroup], nbd_uri: Callable[[str], str]
    ) -> None:
        """Takes the groups and what turns an export's name into its URI."""
        self._groups = groups
        self._nbd_uri = nbd_uri

    async def WriteForward(  # type: ignore[override] # bytes, see add_to_server
        self,
        request_iterator: AsyncIterator[bytes],
        context: Context,  # noqa: ARG002 - gRPC's signature
    ) -> AsyncIterator[stream_pb2.WriteForwardResponse]:
        """Receives the primary's writes; see `add_to_server`."""
        first = await _first(request_iterator)
        seq, hello = decode(first) if first is not None else (0, None)
        if not isinstance(hello, Hello) or seq != 1:
            raise DataLoss(
                Reason.SEQUENCE_GAP, "a stream starts with a hello of seq 1; send that"
            )
        group = self._groups.find(hello.group, hello.generation)
        async for answer in group.reception.receive(hello, _decoded(request_iterator)):
            yield encode_response(answer)

    async def PrepareCheckpoint(
        self,
        request: pb.SecondaryServicePrepareCheckpointRequest,
        context: Context,
    ) -> pb.SecondaryServicePrepareCheckpointResponse:
        """Answers when every write up to the barrier is applied."""
        group = self._groups.find(request.group)
        prepared = await group.checkpoints.prepare(
            request.epoch,
            request.generation,
            request.barrier_seq,
            time_left(context),
        )
        return pb.SecondaryServicePrepareCheckpointResponse(
            epoch=prepared.epoch,
            records=prepared.records,
            buffer_bytes=group.replica.buffer.buffer_bytes,
        )

    async def DoCheckpoint(
        self,
        request: pb.SecondaryServiceDoCheckpointRequest,
        context: Context,  # noqa: ARG002 - gRPC's signature
    ) -> pb.SecondaryServiceDoCheckpointResponse:
        """Commits."""
        group = self._groups.find(request.group)
        committed = await group.checkpoints.commit(request.epoch, request.generation)
        return pb.SecondaryServiceDoCheckpointResponse(
            committed_epoch=committed.epoch, dropped_bytes=committed.dropped_bytes
        )

    async def StopReplication(
        self,
        request: pb.SecondaryServiceStopReplicationRequest,
        context: Context,  # noqa: ARG002 - gRPC's signature
    ) -> pb.SecondaryServiceStopReplicationResponse:
        """Ends replication."""
        group = self._groups.find(request.group)
        if request.mode not in {int(mode) for mode in StopMode}:
            allowed = ", ".join(f"STOP_MODE_{mode.name}" for mode in StopMode)
            raise Invalid(Reason.INVALID, f"mode is missing; give one of {allowed}")
        mode = StopMode(request.mode)
        if request.HasField("epoch") and mode is not StopMode.FAILOVER:
            raise Invalid(
                Reason.INVALID, "epoch goes with STOP_MODE_FAILOVER only; leave it out"
            )
        await group.stop(
            mode,
            request.generation,
            request.epoch if request.HasField("epoch") else None,
        )
        return pb.SecondaryServiceStopReplicationResponse(
            state=state_message(group.replica.state),
            committed_epoch=group.replica.shown,
            flush_remaining_bytes=group.flush.remaining_bytes,
        )

    async def GetStatus(
        self,
        request: pb.SecondaryServiceGetStatusRequest,
        context: Context,
    ) -> pb.SecondaryServiceGetStatusResponse:
        """Reports one group, or all; a watched one when there is something to do."""
        one = self._groups.find(request.group) if request.group else None
        due = None
        if request.HasField("watch"):
            if one is None:
                text = "a watch is of one group: name it, or leave it out"
                raise Invalid(Reason.INVALID, text)
            due = await _watch(one, request.watch, time_left(context))
        asked = self._groups.values() if one is None else [one]
        return pb.SecondaryServiceGetStatusResponse(
            groups=[report(group, self._nbd_uri) for group in asked], due=due
        )

    async def GrowVolume(
        self,
        request: pb.SecondaryServiceGrowVolumeRequest,
        context: Context,  # noqa: ARG002 - gRPC's signature
    ) -> pb.SecondaryServiceGrowVolumeResponse:
        """Makes a volume larger."""
        group = self._groups.find(request.group)
        grown = group.grow(request.volume, request.size_bytes, request.generation)
        return pb.SecondaryServiceGrowVolumeResponse(volume=encode_volume(grown))

    async def ListCheckpoints(
        self,
        request: pb.SecondaryServiceListCheckpointsRequest,
        context: Context,  # noqa: ARG002 - gRPC's signature
    ) -> pb.SecondaryServiceListCheckpointsResponse:
        """Lists the checkpoints that failover can lead to."""
        replica = self._groups.find(request.group).replica
        return pb.SecondaryServiceListCheckpointsResponse(
            checkpoints=checkpoint_entries(replica, self._nbd_uri)
        )


async def _watch(group: ReplicaGroup, asked: pb.ReplicaWatch, left: float) -> bool:
    """Waits for what the caller acts on, but no longer than it waits itself."""
    watch = ReplicaWatch(asked.generation, asked.buffer_bytes, asked.written)
    terms = Terms(asked.seconds, left, asked.beat_seconds)
    return await group.watch(watch, terms)


async def _first(requests: AsyncIterator[bytes]) -> bytes | None:
    try:
        async with asyncio.timeout(_HELLO_SECONDS):
            return await anext(aiter(requests), None)
    except TimeoutError as error:
        raise DeadlineMissed(
            Reason.DEADLINE,
            f"no hello came within {_HELLO_SECONDS:g} s; send it, then all else",
        ) from error


async def _decoded(
    requests: AsyncIterator[bytes],
) -> AsyncIterator[tuple[int, Request]]:
    async for request in requests:
        yield decode(request)


def add_to_server(servicer: SecondaryServicer, server: grpc.aio.Server) -> None:
    """Adds the service, with WriteForward taking messages as bytes.

    gRPC's own deserializer would copy each batch twice (see
    `blkcolo.rpc.stream_bytes`). The handler that was registered last is the one that
    serves a method.
    """
    forward: grpc.RpcMethodHandler[bytes, stream_pb2.WriteForwardResponse]
    forward = grpc.stream_stream_rpc_method_handler(
        servicer.WriteForward,
        request_deserializer=bytes,  # as they are
        response_serializer=stream_pb2.WriteForwardResponse.SerializeToString,
    )
    rpc.add_SecondaryServiceServicer_to_server(servicer, server)
    server.add_registered_method_handlers(SERVICE, {"WriteForward": forward})
