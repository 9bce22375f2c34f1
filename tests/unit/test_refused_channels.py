"""Channels to nodes that may not be called, or that answer what nobody asked."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import grpc
import pytest

from blkcolo.addresses import Address
from blkcolo.errors import BlkcoloError, Reason, Refused
from blkcolo.rpc.client import Dialer
from blkcolo.v1 import node_pb2, node_pb2_grpc
from blkcolo_coordinator.core.group_record import GroupRecord
from blkcolo_coordinator.peers.grpc_peers import PrimaryPeer
from blkcolo_coordinator.peers.node_channel import NodeChannels
from blkcolo_coordinator.peers.pair import Pair

_TIMEOUT = 20.0


def test_a_pair_that_is_refused_leaves_no_channel_open() -> None:
    channels = NodeChannels(Dialer())
    record = GroupRecord("a", "127.0.0.1:1", "192.0.2.1:1")
    with pytest.raises(Refused, match="another machine"):
        Pair(record, _TIMEOUT, channels)
    assert channels._open == {}


class Misplaces(node_pb2_grpc.NodeServiceServicer):
    """Answers the first of two calls, then a third one."""

    async def CallMany(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC name
        answers = [node_pb2.GroupAnswer(place=place) for place in (0, 2, 1)]
        for answer in answers:
            answer.primary_prepare.barrier_seq = 70
        yield node_pb2.CallManyResponse(answers=answers)


async def test_an_answer_to_a_call_that_nobody_made_is_told_to_all_who_wait() -> None:
    """The node misbehaves; each learns that, and nothing is left to asyncio's log."""
    unheard: list[Any] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, told: unheard.append(told))
    server = grpc.aio.server()
    node_pb2_grpc.add_NodeServiceServicer_to_server(Misplaces(), server)  # type: ignore[abstract] # one call
    address = Address("127.0.0.1", server.add_insecure_port("127.0.0.1:0"))
    await server.start()
    channel = NodeChannels(Dialer()).open(address)
    peers = [PrimaryPeer(group, address, _TIMEOUT, channel) for group in "ab"]
    first, second = await asyncio.gather(
        *(peer.prepare(7, 1) for peer in peers), return_exceptions=True
    )
    assert first == 70
    assert isinstance(second, BlkcoloError)
    assert second.reason is Reason.INTERNAL
    assert "answered call 2 of 2" in str(second)
    await channel.close()
    await server.stop(None)
    gc.collect()
    assert unheard == []
