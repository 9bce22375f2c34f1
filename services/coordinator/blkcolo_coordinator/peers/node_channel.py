"""One node as all groups call it: one channel, and calls that begin together go as one.

A unary call costs the coordinator about as much CPU as all its own work for a
checkpoint. So the calls that begin in one turn of the loop, with the same deadline, are
carried by one CallMany; one that begins alone goes alone. Either way each has its own
answer or its own error, and what is lost is lost for those calls that it had not
answered. A caller that leaves ends its wait, not the call: that ends by its deadline.
"""

from __future__ import annotations

import asyncio
import time
from itertools import chain
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import grpc

from blkcolo.errors import BlkcoloError, Reason, Unavailable
from blkcolo.rpc.client import Method, PeerChannel, call
from blkcolo.rpc.errors import from_call_error, to_domain
from blkcolo.v1 import node_pb2, node_pb2_grpc, primary_pb2_grpc, secondary_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from blkcolo.addresses import Address
    from blkcolo.rpc.client import Dialer

#: So many calls go together at most.
_MOST_CALLS = 256
#: A node of an older version gets single calls for so long, in seconds.
_SINGLE_SECONDS = 60.0

Q = TypeVar("Q")
A = TypeVar("A")


class NodeStubs(NamedTuple):
    """The services of a node."""

    node: node_pb2_grpc.NodeServiceAsyncStub
    primary: primary_pb2_grpc.PrimaryServiceAsyncStub
    secondary: secondary_pb2_grpc.SecondaryServiceAsyncStub


def _stubs(channel: grpc.aio.Channel) -> NodeStubs:
    return NodeStubs(
        node_pb2_grpc.NodeServiceStub(channel),
        primary_pb2_grpc.PrimaryServiceStub(channel),
        secondary_pb2_grpc.SecondaryServiceStub(channel),
    )


class Joint(Generic[Q, A]):
    """A method whose calls may go together."""

    def __init__(self, field: str, single: Callable[[NodeStubs], Method[Q, A]]) -> None:
        """Takes its field in GroupCall, and the method by itself."""
        self.field = field
        self.single = single


class _Begun(NamedTuple):
    """A call that somebody waits for."""

    method: Joint[Any, Any]
    request: Any
    #: Names the callee in errors.
    peer: str
    answer: asyncio.Future[Any]

    def take(self, answer: node_pb2.GroupAnswer) -> None:
        if self.answer.done():  # whoever waited is gone
            return
        field = answer.WhichOneof("answer")
        if field == self.method.field:
            self.answer.set_result(getattr(answer, field))
        elif field == "error":
            self.answer.set_exception(from_call_error(answer.error))
        else:
            self.fail(BlkcoloError(Reason.INTERNAL, f"{self.peer} answered {field}"))

    def fail(self, error: BlkcoloError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)

    def end(self) -> None:
        """There will be no answer, if there was none."""
        if not self.answer.done():
            text = f"{self.peer} did not answer the call; ask again"
            self.answer.set_exception(Unavailable(Reason.PEER_UNREACHABLE, text))


def _misplaced(calls: Sequence[_Begun], place: int) -> None:
    """The node answers a call that nobody made: what it has not answered, it will not.

    Nothing else that it says about these calls can be trusted either.
    """
    for each in calls:
        text = (
            f"{each.peer} answered call {place} of {len(calls)}: it is damaged, or of"
            " another version; look at its log, and run the same version everywhere"
        )
        each.fail(BlkcoloError(Reason.INTERNAL, text))


class NodeChannel:
    """The channel to one node."""

    def __init__(self, dialer: Dialer, address: Address) -> None:
        """Opens it; raises Refused as `Dialer.open` does."""
        self._channel = PeerChannel(dialer, address, _stubs)
        #: What this turn of the loop began, by deadline.
        self._begun: dict[float, list[_Begun]] = {}
        self._under_way: set[asyncio.Task[None]] = set()
        self._single_until = 0.0

    @property
    def stubs(self) -> NodeStubs:
        """For calls that are never many."""
        return self._channel.stub

    async def call(
        self, method: Joint[Q, A], request: Q, timeout: float, peer: str
    ) -> A:
        """Calls within `timeout` seconds, together with what else begins now.

        Raises:
            BlkcoloError: what the callee raised, or why it did not answer.
        """
        return await self.begin(method, request, timeout, peer)

    def begin(
        self, method: Joint[Q, A], request: Q, timeout: float, peer: str
    ) -> asyncio.Future[A]:
        """As `call`; the answer, or the error, comes into what is returned."""
        loop = asyncio.get_running_loop()
        if not self._begun:
            loop.call_soon(self._send)
        answer: asyncio.Future[A] = loop.create_future()
        begun = _Begun(method, request, peer, answer)
        self._begun.setdefault(timeout, []).append(begun)
        return answer

    def _send(self) -> None:
        begun, self._begun = self._begun, {}
        for timeout, calls in begun.items():
            for first in range(0, len(calls), _MOST_CALLS):
                self._carry_soon(calls[first : first + _MOST_CALLS], timeout)

    def _carry_soon(self, calls: Sequence[_Begun], timeout: float) -> None:
        """Sees to it that every call has its answer, or its error."""

        def ended(task: asyncio.Task[None]) -> None:
            """Comes as well where the task was cancelled before it began."""
            self._under_way.discard(task)
            for each in calls:
                each.end()

        task = asyncio.create_task(self._carry(calls, timeout), name="calls")
        self._under_way.add(task)
        task.add_done_callback(ended)

    async def _carry(self, calls: Sequence[_Begun], timeout: float) -> None:
        if len(calls) == 1:
            await self._single(calls[0], timeout)
        elif not await self._together(calls, timeout):
            await asyncio.gather(*(self._single(each, timeout) for each in calls))

    async def _single(self, each: _Begun, timeout: float) -> None:
        method = each.method.single(self.stubs)
        try:
            answer = await call(method, each.request, timeout, each.peer)
        except BlkcoloError as error:
            each.fail(error)
        else:
            if not each.answer.done():
                each.answer.set_result(answer)

    async def _together(self, calls: Sequence[_Begun], timeout: float) -> bool:
        """False for a node that does not know CallMany: nothing was called."""
        if time.monotonic() < self._single_until:
            return False
        request = node_pb2.CallManyRequest()
        for each in calls:
            getattr(request.calls.add(), each.method.field).CopyFrom(each.request)
        try:
            async for some in self.stubs.node.CallMany(request, timeout=timeout):
                for answer in some.answers:
                    if answer.place >= len(calls):
                        _misplaced(calls, answer.place)
                        return True
                    calls[answer.place].take(answer)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                self._single_until = time.monotonic() + _SINGLE_SECONDS
                return False
            for each in calls:
                each.fail(to_domain(error, each.peer))
        return True

    async def close(self) -> None:
        """Closes the channel; whoever waits for an answer learns that none comes."""
        begun, self._begun = self._begun, {}
        for each in chain.from_iterable(begun.values()):
            each.end()
        for task in list(self._under_way):
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        await self._channel.close()


class NodeChannels:
    """The channels to all nodes; groups on one node share its channel."""

    def __init__(self, dialer: Dialer) -> None:
        """Takes what opens channels."""
        self._dialer = dialer
        self._open: dict[Address, tuple[NodeChannel, int]] = {}

    def check(self, address: Address) -> None:
        """Raises Refused where `open` would."""
        self._dialer.check(address)

    def open(self, address: Address) -> NodeChannel:
        """The channel to a node, for one more user; raises Refused."""
        channel, users = self._open.get(address) or (
            NodeChannel(self._dialer, address),
            0,
        )
        self._open[address] = channel, users + 1
        return channel

    async def release(self, address: Address) -> None:
        """One user less; the last one closes the channel."""
        channel, users = self._open.pop(address)
        if users > 1:
            self._open[address] = channel, users - 1
        else:
            await channel.close()
