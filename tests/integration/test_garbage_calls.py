"""Bytes that are no message, and messages that are too large: clear errors, no harm."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from blkcolo.v1 import (
    coordinator_pb2,
    primary_pb2,
    secondary_pb2,
    stream_pb2,
    types_pb2,
)
from tests.integration.test_bad_input import batch, hello
from tests.stack import MIB, Stack, running

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.integration

SERVICES = {
    "coordinator": coordinator_pb2.DESCRIPTOR.services_by_name["CoordinatorService"],
    "primary": primary_pb2.DESCRIPTOR.services_by_name["PrimaryService"],
    "secondary": secondary_pb2.DESCRIPTOR.services_by_name["SecondaryService"],
}
STREAM = "/blkcolo.v1.SecondaryService/WriteForward"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("garbage")) as stack:
        stack.pause()
        yield stack


@pytest.fixture
def lone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("lone"))
    try:
        stack.start("secondary")
        yield stack
    finally:
        stack.close()


def raw_channel(stack: Stack, name: str) -> Any:
    """Sends bytes as they are, of any length."""
    no_limit = [("grpc.max_send_message_length", -1)]
    return grpc.insecure_channel(stack.address(name), options=no_limit)


def ask(channel: Any, path: str, payload: bytes, *, streaming: bool) -> None:
    if streaming:
        list(channel.unary_stream(path)(payload, timeout=10))
    else:
        channel.unary_unary(path)(payload, timeout=10)


@pytest.mark.parametrize("name", SERVICES)
def test_every_method_refuses_garbage_and_giants_and_serves_on(
    stack: Stack, name: str
) -> None:
    with raw_channel(stack, name) as channel:
        for method in SERVICES[name].methods:
            if method.client_streaming:
                continue
            path = f"/{SERVICES[name].full_name}/{method.name}"
            for payload, code in (
                (b"\xff" * 64, grpc.StatusCode.INVALID_ARGUMENT),
                (b"\x0a\xff\xff\xff\xff\x0f", grpc.StatusCode.INVALID_ARGUMENT),
                (bytes(9 * MIB), grpc.StatusCode.RESOURCE_EXHAUSTED),
            ):
                with pytest.raises(grpc.RpcError) as refusal:
                    ask(channel, path, payload, streaming=method.server_streaming)
                assert refusal.value.code() is code, (path, refusal.value)
    assert "Traceback" not in stack.log(name)
    assert stack.checkpoint() > 0


def converse(stack: Stack, *messages: bytes) -> types_pb2.Failure:
    """Sends a hello and then bytes; returns the failure that the stream ends with."""
    with raw_channel(stack, "secondary") as channel:
        call = channel.stream_stream(
            STREAM, response_deserializer=stream_pb2.WriteForwardResponse.FromString
        )
        opening = hello(stack).SerializeToString()
        answers = list(call(iter([opening, *messages]), timeout=20))
    failure: types_pb2.Failure = answers[-1].failure
    return failure


def test_stream_of_garbage_ends_with_a_failure_not_quietly(lone: Stack) -> None:
    failure = converse(lone, b"\xff" * 50)
    assert failure.reason == types_pb2.REASON_INVALID
    assert "same version" in failure.message
    assert lone.secondary_status().state == types_pb2.REPLICA_STATE_FAULTED


def test_failure_names_the_message_that_came_twice(lone: Stack) -> None:
    once = batch(2).SerializeToString()
    failure = converse(lone, once, once)
    assert failure.reason == types_pb2.REASON_SEQUENCE_GAP
    assert "message 2 came where 3 was due" in failure.message


def test_giant_message_is_refused_before_it_is_read(lone: Stack) -> None:
    giant = batch(2, payload=bytes(9 * MIB), lengths=[9 * MIB]).SerializeToString()
    with pytest.raises(grpc.RpcError) as refusal:
        converse(lone, giant)
    assert refusal.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_batches_with_flipped_bytes_write_nothing(lone: Stack) -> None:
    before = lone.image("secondary").read_bytes()
    good: Any = batch(2).SerializeToString()
    chance = random.Random(7)  # noqa: S311 - the same bytes in each run
    for _ in range(100):
        bad = bytearray(good)
        for _ in range(chance.randint(1, 4)):
            bad[chance.randrange(len(bad))] ^= 1 << chance.randrange(8)
        if bytes(bad) != good:
            assert converse(lone, bytes(bad)).reason != types_pb2.REASON_UNSPECIFIED
    assert lone.image("secondary").read_bytes() == before
    assert "Traceback" not in lone.log("secondary")
