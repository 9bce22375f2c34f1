"""Nodes that answer at once: what a coordinator costs is then its own.

As objects in the coordinator's process, without gRPC; or as a process of its own that
serves PrimaryService and SecondaryService as real nodes do.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import signal
from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
import uvloop

from blkcolo.rpc.context import time_left
from blkcolo.v1 import primary_pb2, secondary_pb2, types_pb2
from blkcolo.v1.node_pb2_grpc import add_NodeServiceServicer_to_server
from blkcolo.wakeup import Wakeup
from blkcolo.watch import Terms, Watch
from blkcolo_node.many_calls import ManyCalls, OneOfMany
from blkcolo_node.servicer import NodeServicer
from blkcolo_primary.core.watch import ForwardNow, ForwardWatch
from blkcolo_primary.core.watch import due as forward_due
from blkcolo_secondary.core.watch import ReplicaNow, ReplicaWatch
from blkcolo_secondary.core.watch import due as replica_due

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection
    from types import ModuleType

    from blkcolo_coordinator.core.watch_plan import WatchPlan

_START_SECONDS = 30
_GENERATION = 1
#: Groups of such names have VMs that write all the time; those of others never do.
WRITTEN_TO = "written-"
_WRITTEN_BYTES = 4096
#: They write so often, in seconds.
_WRITE_SECONDS = 0.02
_METHODS = {
    "status": "GetStatus",
    "prepare": "PrepareCheckpoint",
    "do": "DoCheckpoint",
}


def _forward_status() -> primary_pb2.ForwardStatus:
    return primary_pb2.ForwardStatus(
        state=types_pb2.FORWARD_STATE_REPLICATING, generation=_GENERATION
    )


def _replica_status() -> secondary_pb2.ReplicaStatus:
    return secondary_pb2.ReplicaStatus(
        state=types_pb2.REPLICA_STATE_RECEIVING, generation=_GENERATION
    )


class _Side:
    """Either side of a group, in the coordinator's process."""

    def __init__(self, status: Any, answer: Callable[..., Any]) -> None:
        self._status = status
        self._answer = answer

    async def status(self) -> Any:
        return self._status

    def watch(self, _: WatchPlan, seconds: float) -> asyncio.Future[Any]:
        """Nothing happens before the time is over."""
        loop = asyncio.get_running_loop()
        told = loop.create_future()
        loop.call_later(seconds, self._over, told)
        return told

    def _over(self, told: asyncio.Future[Any]) -> None:
        if not told.done():
            told.set_result(self._answer(groups=[self._status], due=False))

    async def prepare(self, epoch: int, *_: object) -> int:
        return epoch

    async def do_checkpoint(self, epoch: int, _: int) -> None:
        self._status.epoch = epoch + 1


class PairInProcess:
    """Both sides of a group, in the coordinator's process."""

    def __init__(self) -> None:
        """Begins with nothing committed."""
        self.primary = _Side(
            _forward_status(), primary_pb2.PrimaryServiceGetStatusResponse
        )
        self.secondary = _Side(
            _replica_status(), secondary_pb2.SecondaryServiceGetStatusResponse
        )

    async def close(self) -> None:
        """There is nothing to close."""


class _Group:
    """One side of a group in the nodes' process."""

    def __init__(self, status: Any) -> None:
        self.status = status
        self._changed = Wakeup()
        self._watch = Watch(self._changed)

    async def watched(self, asked: Any, left: float) -> bool:
        """Waits as a real side does."""
        terms = Terms(asked.seconds, left, asked.beat_seconds)
        due = self._due_on(asked)
        return await self._watch.wait(due, lambda: not self._written, terms)

    def _due_on(self, asked: Any) -> Callable[[], bool]:
        status = self.status
        if isinstance(status, secondary_pb2.ReplicaStatus):
            replica = ReplicaWatch(asked.generation, asked.buffer_bytes, asked.written)
            return lambda: replica_due(
                replica, ReplicaNow(True, status.generation, status.buffer_bytes, 0)
            )
        forward = ForwardWatch(
            asked.generation, asked.epoch, asked.sent_bytes, asked.written
        )
        return lambda: forward_due(
            forward,
            ForwardNow(
                True,
                status.generation,
                status.epoch,
                status.sent_bytes_in_epoch,
                status.records_in_epoch,
            ),
        )

    @property
    def _written(self) -> bool:
        return getattr(self.status, "records_in_epoch", 0) > 0

    def write(self) -> None:
        """The VM writes."""
        self.status.sent_bytes += _WRITTEN_BYTES
        self.status.sent_bytes_in_epoch += _WRITTEN_BYTES
        self.status.records_in_epoch += 1
        self._changed.fire()

    def begins(self, epoch: int) -> None:
        """A checkpoint is committed."""
        self.status.epoch = epoch
        if isinstance(self.status, primary_pb2.ForwardStatus):
            self.status.sent_bytes_in_epoch = self.status.records_in_epoch = 0
        self._changed.fire()


class _Service:
    """One service of a node; every group that it is asked for is in its role.

    Answers are the service's own messages; GetStatus and DoCheckpoint keep the epoch.
    """

    def __init__(
        self, name: str, messages: ModuleType, new_status: Callable[[], Any]
    ) -> None:
        self._name = name
        self._messages = messages
        self._groups: defaultdict[str, _Group] = defaultdict(
            lambda: _Group(new_status())
        )

    @property
    def calls(self) -> dict[str, Any]:
        """What a look and a checkpoint need."""
        return {"status": self._status, "prepare": self._prepare, "do": self._do}

    def handler(self) -> grpc.GenericRpcHandler:
        """For a gRPC server."""
        handlers = {
            _METHODS[step]: self._unary(_METHODS[step], call)
            for step, call in self.calls.items()
        }
        return grpc.method_handlers_generic_handler(
            f"blkcolo.v1.{self._name}", handlers
        )

    def _unary(self, method: str, call: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(
            call,
            request_deserializer=self._message(method, "Request").FromString,
            response_serializer=self._message(method, "Response").SerializeToString,
        )

    def _message(self, method: str, kind: str) -> Any:
        return getattr(self._messages, f"{self._name}{method}{kind}")

    async def _status(self, request: Any, context: Any) -> Any:
        answer = self._message("GetStatus", "Response")
        group, due = self._groups[request.group], None
        if request.HasField("watch"):
            due = await group.watched(request.watch, time_left(context))
        return answer(groups=[group.status], due=due)

    async def written_to(self) -> None:
        """VMs write, in those groups that have such."""
        while True:
            await asyncio.sleep(_WRITE_SECONDS)
            for name, group in self._groups.items():
                if name.startswith(WRITTEN_TO):
                    group.write()

    async def _prepare(self, request: Any, _: Any) -> Any:
        return self._message("PrepareCheckpoint", "Response")(epoch=request.epoch)

    async def _do(self, request: Any, _: Any) -> Any:
        self._groups[request.group].begins(request.epoch + 1)
        answer = self._message("DoCheckpoint", "Response")
        return answer(committed_epoch=request.epoch)


def _node(primary: _Service, secondary: _Service) -> NodeServicer:
    """What carries the calls of several groups, as in a real node."""
    methods = {
        f"{side}_{step}": OneOfMany(f"{side}_{step}", call)
        for side, service in (("primary", primary), ("secondary", secondary))
        for step, call in service.calls.items()
    }
    return NodeServicer({}, ManyCalls(methods, lambda _, __: None))


class Nodes(NamedTuple):
    """The process of all nodes."""

    address: str
    pid: int


@contextlib.contextmanager
def process() -> Iterator[Nodes]:
    """One process that is the primary and the secondary of every group."""
    context = multiprocessing.get_context("spawn")  # gRPC does not survive a fork
    here, there = context.Pipe()
    serving = context.Process(target=_run, args=(there,))
    serving.start()
    try:
        assert here.poll(_START_SECONDS), "the simulated nodes did not start"
        assert serving.pid is not None
        yield Nodes(f"127.0.0.1:{here.recv()}", serving.pid)
    finally:
        here.send("stop")
        serving.join()


def _run(told: Connection) -> None:
    # Ctrl-C reaches this process as well: the benchmark's own ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    uvloop.run(_serve(told))


async def _serve(told: Connection) -> None:
    server = grpc.aio.server()
    primary = _Service("PrimaryService", primary_pb2, _forward_status)
    secondary = _Service("SecondaryService", secondary_pb2, _replica_status)
    server.add_generic_rpc_handlers((primary.handler(), secondary.handler()))
    add_NodeServiceServicer_to_server(_node(primary, secondary), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    told.send(port)
    writing = asyncio.create_task(primary.written_to(), name="VMs that write")
    with contextlib.suppress(EOFError):  # nobody is left to say so
        await asyncio.to_thread(told.recv)
    writing.cancel()
    await asyncio.wait([writing])
    await server.stop(1)
