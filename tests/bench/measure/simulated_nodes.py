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

from blkcolo.v1 import primary_pb2, secondary_pb2, types_pb2
from blkcolo.v1.node_pb2_grpc import add_NodeServiceServicer_to_server
from blkcolo_node.many_calls import ManyCalls, OneOfMany
from blkcolo_node.servicer import NodeServicer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection
    from types import ModuleType

_START_SECONDS = 30
_GENERATION = 1
#: Groups of such names have VMs that write all the time; those of others never do.
WRITTEN_TO = "written-"
_WRITTEN_BYTES = 4096
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

    def __init__(self, status: Any) -> None:
        self._status = status

    async def status(self) -> Any:
        return self._status

    async def prepare(self, epoch: int, *_: object) -> int:
        return epoch

    async def do_checkpoint(self, epoch: int, _: int) -> None:
        self._status.epoch = epoch + 1


class PairInProcess:
    """Both sides of a group, in the coordinator's process."""

    def __init__(self) -> None:
        """Begins with nothing committed."""
        self.primary = _Side(_forward_status())
        self.secondary = _Side(_replica_status())

    async def close(self) -> None:
        """There is nothing to close."""


class _Service:
    """One service of a node; every group that it is asked for is in its role.

    Answers are the service's own messages; GetStatus and DoCheckpoint keep the epoch.
    """

    def __init__(
        self, name: str, messages: ModuleType, new_status: Callable[[], Any]
    ) -> None:
        self._name = name
        self._messages = messages
        self._groups: defaultdict[str, Any] = defaultdict(new_status)

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

    async def _status(self, request: Any, _: Any) -> Any:
        answer = self._message("GetStatus", "Response")
        self._written_to(request.group)
        return answer(groups=[self._groups[request.group]])

    def _written_to(self, group: str) -> None:
        """A VM that writes: each look at the primary finds more than the last."""
        status = self._groups[group]
        if group.startswith(WRITTEN_TO) and hasattr(status, "sent_bytes"):
            status.sent_bytes += _WRITTEN_BYTES

    async def _prepare(self, request: Any, _: Any) -> Any:
        return self._message("PrepareCheckpoint", "Response")(epoch=request.epoch)

    async def _do(self, request: Any, _: Any) -> Any:
        self._groups[request.group].epoch = request.epoch + 1
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
    with contextlib.suppress(EOFError):  # nobody is left to say so
        await asyncio.to_thread(told.recv)
    await server.stop(1)
