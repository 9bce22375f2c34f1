"""The calls of several groups go to a node as one RPC; none learns of the others."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from blkcolo.addresses import Address
from blkcolo.errors import (
    BlkcoloError,
    DataLoss,
    DeadlineMissed,
    Reason,
    StaleGeneration,
    Unavailable,
)
from blkcolo.rpc.client import Dialer
from blkcolo.rpc.errors import DomainErrors
from blkcolo.security.authorization import allowed
from blkcolo.v1 import (
    node_pb2,
    node_pb2_grpc,
    primary_pb2,
    primary_pb2_grpc,
    secondary_pb2_grpc,
)
from blkcolo.v1 import secondary_pb2 as secondary
from blkcolo_coordinator.core.group_record import GroupRecord
from blkcolo_coordinator.peers.grpc_peers import PrimaryPeer, SecondaryPeer
from blkcolo_coordinator.peers.node_channel import NodeChannels
from blkcolo_coordinator.peers.pair import Pair
from blkcolo_coordinator.peers.peer_steps import PeerSteps
from blkcolo_coordinator.runs.checkpoint_run import CheckpointRun, Outcome, Step
from blkcolo_coordinator.settings import CoordinatorSettings
from blkcolo_node.many_calls import MOST_CALLS, ManyCalls, methods_of
from blkcolo_node.servicer import NodeServicer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_TIMEOUT = 20.0


class _Primary(primary_pb2_grpc.PrimaryServiceServicer):
    """Every group's barrier has the seq 10 x epoch, but for those that fail."""

    def __init__(self) -> None:
        self.fails: dict[str, Exception] = {}

    async def PrepareCheckpoint(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC name
        if request.group in self.fails:
            raise self.fails[request.group]
        return primary_pb2.PrimaryServicePrepareCheckpointResponse(
            epoch=request.epoch, barrier_seq=10 * request.epoch
        )

    async def DoCheckpoint(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC name
        return primary_pb2.PrimaryServiceDoCheckpointResponse(
            committed_epoch=request.epoch
        )


class _Secondary(secondary_pb2_grpc.SecondaryServiceServicer):
    """Holds the prepare of groups in `holds` up; commits at once."""

    def __init__(self) -> None:
        self.holds: dict[str, asyncio.Event] = {}
        self.entered = asyncio.Event()
        self.left: asyncio.Queue[str] = asyncio.Queue()

    async def PrepareCheckpoint(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC name
        try:
            if request.group in self.holds:
                self.entered.set()
                await self.holds[request.group].wait()
        finally:
            self.left.put_nowait(request.group)
        return secondary.SecondaryServicePrepareCheckpointResponse(epoch=request.epoch)

    async def DoCheckpoint(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC name
        return secondary.SecondaryServiceDoCheckpointResponse(
            committed_epoch=request.epoch
        )


class _Counted(grpc.aio.ServerInterceptor):
    """Counts RPCs by method; a node of an older version does not know CallMany."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.old = False

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        method = details.method.removeprefix("/blkcolo.v1.")
        self.calls[method] += 1
        if self.old and method == "NodeService/CallMany":
            return None
        return await continuation(details)


class _Node:
    """The node, and the coordinator's channel to it."""

    def __init__(self) -> None:
        self.primary = _Primary()  # type: ignore[abstract] # two calls
        self.secondary = _Secondary()  # type: ignore[abstract] # two calls
        self.rpcs = _Counted()
        self.errors: list[tuple[str, Reason]] = []
        self.address = Address("127.0.0.1", 0)
        self.channels = NodeChannels(Dialer())
        self._server: Any = None

    async def start(self) -> None:
        many = ManyCalls(
            methods_of(self.primary, self.secondary),  # type: ignore[arg-type] # a stand-in
            lambda method, reason: self.errors.append((method, reason)),
        )
        server = self._server = grpc.aio.server(
            interceptors=[self.rpcs, DomainErrors(lambda _, __: None)]
        )
        node_pb2_grpc.add_NodeServiceServicer_to_server(NodeServicer({}, many), server)
        primary_pb2_grpc.add_PrimaryServiceServicer_to_server(self.primary, server)
        secondary_pb2_grpc.add_SecondaryServiceServicer_to_server(
            self.secondary, server
        )
        port = server.add_insecure_port(f"127.0.0.1:{self.address.port}")
        self.address = Address("127.0.0.1", port)
        await server.start()

    async def stop(self) -> None:
        await self._server.stop(None)

    def primary_of(self, group: str) -> PrimaryPeer:
        channel = self.channels.open(self.address)
        return PrimaryPeer(group, self.address, _TIMEOUT, channel)

    def secondary_of(self, group: str) -> SecondaryPeer:
        channel = self.channels.open(self.address)
        return SecondaryPeer(group, self.address, _TIMEOUT, channel)


@pytest.fixture
async def node() -> AsyncIterator[_Node]:
    node = _Node()
    await node.start()
    yield node
    await node.stop()


async def prepared(node: _Node, *groups: str, epoch: int = 7) -> list[Any]:
    """What PrepareCheckpoint on the primary answers to groups that begin together."""
    calls = [node.primary_of(group).prepare(epoch, 1) for group in groups]
    return await asyncio.gather(*calls, return_exceptions=True)


async def test_calls_that_begin_together_are_one_rpc(node: _Node) -> None:
    assert await prepared(node, "a", "b", "c") == [70, 70, 70]
    assert node.rpcs.calls == {"NodeService/CallMany": 1}


async def test_a_call_that_begins_alone_is_the_unary_rpc(node: _Node) -> None:
    assert await prepared(node, "a") == [70]
    assert node.rpcs.calls == {"PrimaryService/PrepareCheckpoint": 1}


async def test_a_thousand_calls_need_four_rpcs(node: _Node) -> None:
    answers = await prepared(node, *(f"vm{number}" for number in range(1000)))
    assert answers == [70] * 1000
    assert node.rpcs.calls == {"NodeService/CallMany": 4}


async def test_fifty_checkpoints_that_begin_together_need_four_rpcs(
    node: _Node, tmp_path: Path
) -> None:
    """As many as one needs: what a checkpoint costs when many groups are due."""
    settings = CoordinatorSettings(data_dir=tmp_path)
    runs = [CheckpointRun(7, 1) for _ in range(50)]
    pairs = [
        Pair(
            GroupRecord(f"vm{number}", str(node.address), str(node.address)),
            settings.call_timeout_seconds,
            node.channels,
        )
        for number in range(len(runs))
    ]
    await asyncio.gather(
        *(
            PeerSteps(pair, settings).take_checkpoint(run)
            for pair, run in zip(pairs, runs, strict=True)
        )
    )
    for run in runs:
        assert (run.outcome, run.error) == (Outcome.COMMITTED, None)
    assert node.rpcs.calls == {"NodeService/CallMany": len(Step)}
    await asyncio.gather(*(pair.close() for pair in pairs))


async def test_calls_of_both_roles_with_one_deadline_go_together(node: _Node) -> None:
    barrier, _ = await asyncio.gather(
        node.primary_of("a").prepare(3, 1), node.secondary_of("b").do_checkpoint(2, 1)
    )
    assert barrier == 30
    assert node.rpcs.calls == {"NodeService/CallMany": 1}


@pytest.mark.parametrize(
    "error",
    [
        StaleGeneration.of("b", 1, 2),
        DataLoss(Reason.SEQUENCE_GAP, "a gap", "disk0", 4096, 7),
        Unavailable(Reason.LINK_LOST, "lost; ask again"),
    ],
)
async def test_a_group_that_fails_has_its_own_error_and_the_others_their_answers(
    node: _Node, error: BlkcoloError
) -> None:
    node.primary.fails["b"] = error
    (alone,) = await prepared(node, "b")
    first, failed, last = await prepared(node, "a", "b", "c")
    assert (first, last) == (70, 70)
    for told in (alone, failed):
        assert type(told) is type(error)
        assert vars(told) == vars(error)
    assert node.errors == [
        ("/blkcolo.v1.PrimaryService/PrepareCheckpoint", error.reason)
    ]


async def test_a_program_error_in_one_group_is_told_to_that_one(node: _Node) -> None:
    node.primary.fails["b"] = ValueError("a bug")
    (alone,) = await prepared(node, "b")
    first, failed, _ = await prepared(node, "a", "b", "c")
    assert first == 70
    assert failed.reason is alone.reason is Reason.INTERNAL
    assert str(failed) == str(alone)
    assert "see this service's log" in str(failed)


async def test_a_slow_group_holds_no_other_up(node: _Node) -> None:
    held = node.secondary.holds["slow"] = asyncio.Event()
    slow, *others = [
        asyncio.ensure_future(node.secondary_of(group).prepare(7, 1, 70, _TIMEOUT))
        for group in ("slow", "a", "b")
    ]
    await asyncio.wait_for(asyncio.gather(*others), _TIMEOUT)
    assert not slow.done()
    assert await prepared(node, "c", "d") == [70, 70], "nor what begins meanwhile"
    held.set()
    await asyncio.wait_for(slow, _TIMEOUT)


async def test_an_answer_that_is_lost_is_lost_for_the_groups_that_waited_for_it(
    node: _Node,
) -> None:
    node.secondary.holds["slow"] = asyncio.Event()
    slow, quick = [
        asyncio.ensure_future(node.secondary_of(group).prepare(7, 1, 70, _TIMEOUT))
        for group in ("slow", "quick")
    ]
    await quick
    node.secondary.entered.clear()
    alone = asyncio.ensure_future(node.secondary_of("slow").prepare(7, 1, 70, _TIMEOUT))
    await asyncio.wait_for(node.secondary.entered.wait(), _TIMEOUT)
    await node.stop()
    for lost in (slow, alone):
        with pytest.raises(Unavailable) as caught:
            await lost
        assert caught.value.reason is Reason.PEER_UNREACHABLE
    await node.start()  # on the same port, as a node that was restarted
    del node.secondary.holds["slow"]
    async with asyncio.timeout(_TIMEOUT):  # gRPC waits before it connects anew
        while (answers := await prepared(node, "a", "b")) != [70, 70]:
            assert {each.reason for each in answers} == {Reason.PEER_UNREACHABLE}
            await asyncio.sleep(0.1)


async def test_a_deadline_that_passes_fails_what_is_not_answered_and_ends_its_work(
    node: _Node,
) -> None:
    node.secondary.holds["slow"] = asyncio.Event()
    slow, quick = await asyncio.gather(
        *(node.secondary_of(group).prepare(7, 1, 70, 0.5) for group in ("slow", "a")),
        return_exceptions=True,
    )
    assert quick is None
    assert isinstance(slow, DeadlineMissed)
    left = [await asyncio.wait_for(node.secondary.left.get(), _TIMEOUT) for _ in "12"]
    assert left == ["a", "slow"]


async def test_who_leaves_takes_nobody_along(node: _Node) -> None:
    held = node.secondary.holds["left"] = node.secondary.holds["stays"] = (
        asyncio.Event()
    )
    left, stays = [
        asyncio.ensure_future(node.secondary_of(group).prepare(7, 1, 70, _TIMEOUT))
        for group in ("left", "stays")
    ]
    await asyncio.wait_for(node.secondary.entered.wait(), _TIMEOUT)
    left.cancel()
    held.set()
    await asyncio.wait_for(stays, _TIMEOUT)
    assert left.cancelled()


@pytest.mark.parametrize("turns", range(4))
async def test_who_waits_when_the_channel_is_closed_learns_that_no_answer_comes(
    node: _Node, turns: int
) -> None:
    """However far the call is: begun, about to be carried, or under way."""
    node.secondary.holds = {group: asyncio.Event() for group in "ab"}
    calls = [
        asyncio.ensure_future(node.secondary_of(group).prepare(7, 1, 70, _TIMEOUT))
        for group in node.secondary.holds
    ]
    for _ in range(turns):
        await asyncio.sleep(0)
    await node.channels.open(node.address).close()
    for answer in await asyncio.wait_for(
        asyncio.gather(*calls, return_exceptions=True), _TIMEOUT
    ):
        assert isinstance(answer, Unavailable)


async def test_an_older_node_is_called_for_each_group_and_asked_once_for_more(
    node: _Node,
) -> None:
    node.rpcs.old = True
    node.primary.fails["b"] = StaleGeneration.of("b", 1, 2)
    for _ in range(2):
        first, failed, last = await prepared(node, "a", "b", "c")
        assert (first, last) == (70, 70)
        assert isinstance(failed, StaleGeneration)
    assert node.rpcs.calls == {
        "NodeService/CallMany": 1,
        "PrimaryService/PrepareCheckpoint": 6,
    }


async def test_a_call_that_the_node_does_not_know_is_refused_and_no_other(
    node: _Node,
) -> None:
    known = node_pb2.GroupCall()
    known.primary_prepare.epoch = 7
    async with grpc.aio.insecure_channel(str(node.address)) as channel:
        stub = node_pb2_grpc.NodeServiceStub(channel)
        request = node_pb2.CallManyRequest(calls=[node_pb2.GroupCall(), known])
        answers = {
            answer.place: answer
            async for some in stub.CallMany(request, timeout=_TIMEOUT)
            for answer in some.answers
        }
    assert answers[0].error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert answers[1].primary_prepare.barrier_seq == 70


def test_whoever_may_call_many_may_make_each_of_the_calls_alone() -> None:
    primary, secondary = _Primary(), _Secondary()  # type: ignore[abstract] # two calls
    methods = methods_of(primary, secondary)  # type: ignore[arg-type] # a stand-in
    assert set(methods) == {
        field.name for field in node_pb2.GroupCall.DESCRIPTOR.fields
    }
    callers = allowed("/blkcolo.v1.NodeService/CallMany")
    assert callers
    for each in methods.values():
        assert callers <= allowed(each.name), each.name


@pytest.mark.parametrize(
    ("count", "told"),
    [(0, "make at least one"), (MOST_CALLS + 1, "1024 at once at most")],
)
async def test_no_calls_and_too_many_are_refused_before_one_is_made(
    node: _Node, count: int, told: str
) -> None:
    calls = [node_pb2.GroupCall()] * count
    async with grpc.aio.insecure_channel(str(node.address)) as channel:
        stub = node_pb2_grpc.NodeServiceStub(channel)
        request = node_pb2.CallManyRequest(calls=calls)
        with pytest.raises(grpc.aio.AioRpcError, match=told):
            await stub.CallMany(request, timeout=_TIMEOUT).read()


async def test_answers_that_are_long_come_in_several_messages(node: _Node) -> None:
    """All in one would be more than a message may hold."""
    text = "x" * (1 << 20)
    node.primary.fails = {
        f"vm{n}": Unavailable(Reason.LINK_LOST, text) for n in range(20)
    }
    answers = await prepared(node, *node.primary.fails)
    assert {str(answer) for answer in answers} == {text}
    assert node.rpcs.calls == {"NodeService/CallMany": 1}


async def test_the_last_group_of_a_node_closes_its_channel(node: _Node) -> None:
    first = node.channels.open(node.address)
    assert node.channels.open(node.address) is first
    await node.channels.release(node.address)
    assert await node.primary_of("a").prepare(1, 1) == 10
    await node.channels.release(node.address)
    await node.channels.release(node.address)
    assert node.channels.open(node.address) is not first
