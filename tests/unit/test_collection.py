"""What waits for Python's collector is little, however long a service runs."""

from __future__ import annotations

import gc
import tracemalloc
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from blkcolo.addresses import Address
from blkcolo.process import memory
from blkcolo.rpc.server import GrpcServer

if TYPE_CHECKING:
    from collections.abc import Iterator

_MIB = 1 << 20
#: gRPC leaves 0.7 KiB behind each: 1.3 MiB in all.
_CALLS = 2_000


@pytest.fixture
def as_in_a_service() -> Iterator[None]:
    before = gc.get_threshold()
    memory.collect_rarely()
    tracemalloc.start()
    yield
    tracemalloc.stop()
    gc.set_threshold(*before)
    gc.unfreeze()


@pytest.mark.usefixtures("as_in_a_service")
async def test_calls_leave_less_than_a_mib_behind() -> None:
    server = GrpcServer(Address("127.0.0.1", 0), [], [], None, lambda *_: None)
    await server.start()
    async with grpc.aio.insecure_channel(server.bound.grpc_target) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        check = stub.Check
        await check(health_pb2.HealthCheckRequest())
        began, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in range(_CALLS):
            await check(health_pb2.HealthCheckRequest())
        _, peak = tracemalloc.get_traced_memory()
    await server.stop(0)
    assert peak - began < _MIB
