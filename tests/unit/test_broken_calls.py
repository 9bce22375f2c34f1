"""A call that broke on the way is told from one that its callee answered."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_status import rpc_status

from blkcolo.errors import BlkcoloError, Reason, Unavailable
from blkcolo.rpc.errors import status_of, to_domain

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    Call = grpc.aio.StreamStreamCall[bytes, bytes]

_CORE = "Internal error from Core"
_NONE = grpc.aio.Metadata()


def answered(
    code: grpc.StatusCode, text: str, trailing: grpc.aio.Metadata = _NONE
) -> BlkcoloError:
    error = grpc.aio.AioRpcError(code, _NONE, trailing, details=text)
    return to_domain(error, "secondary")


@pytest.mark.parametrize(
    "text", [_CORE, "Received RST_STREAM with error code 2", "RST_STREAM: internal"]
)
def test_what_grpc_itself_calls_internal_is_a_peer_that_cannot_be_reached(
    text: str,
) -> None:
    error = answered(grpc.StatusCode.INTERNAL, text)
    assert isinstance(error, Unavailable)
    assert error.reason is Reason.PEER_UNREACHABLE
    assert text in str(error)


def test_internal_that_a_peer_answers_stays_internal() -> None:
    told = BlkcoloError(Reason.INTERNAL, f"program error: {_CORE}")
    metadata = rpc_status.to_status(status_of(told)).trailing_metadata
    trailing = grpc.aio.Metadata(*metadata)
    error = answered(grpc.StatusCode.INTERNAL, told.message, trailing)
    assert (error.reason, error.message) == (Reason.INTERNAL, told.message)
    other = answered(grpc.StatusCode.INTERNAL, "some other server's words")
    assert other.reason is Reason.INTERNAL
    assert not isinstance(other, Unavailable)


def serve(port: Connection) -> None:
    """An echo of a stream, until it is killed."""

    async def run() -> None:
        async def echo(requests: Any, _context: object) -> Any:
            async for request in requests:
                yield request[:1]

        server = grpc.aio.server()
        method: Any = grpc.stream_stream_rpc_method_handler(echo)
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("Test", {"Echo": method}),)
        )
        port.send(server.add_insecure_port("127.0.0.1:0"))
        await server.start()
        await server.wait_for_termination()

    asyncio.run(run())


async def what_it_says(call: Call) -> grpc.aio.AioRpcError:
    """Why the stream ended."""
    try:
        while await call.read() is not grpc.aio.EOF:
            pass
    except grpc.aio.AioRpcError as error:
        return error
    pytest.fail("it ended without an error")


async def stream_until_killed() -> grpc.aio.AioRpcError:
    """What a stream says whose server is killed while it is being sent to."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,))
    process.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{ours.recv()}") as channel:
            call: Call = channel.stream_stream("/Test/Echo")()
            await call.write(b"hello")
            assert await call.read() == b"h"

            async def send() -> None:
                while not call.done():
                    try:
                        await call.write(os.urandom(200_000))
                    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                        return

            sending = asyncio.create_task(send())
            for _ in range(20):
                assert await call.read()
            process.kill()
            error = await what_it_says(call)
            await sending
            return error
    finally:
        process.kill()
        process.join(10)


@pytest.mark.integration
async def test_a_peer_that_is_killed_while_it_is_sent_to_cannot_be_reached() -> None:
    """gRPC says one thing or another: most of these rounds say INTERNAL."""
    for _ in range(4):
        broken = await stream_until_killed()
        error = to_domain(broken, "secondary")
        assert error.reason is Reason.PEER_UNREACHABLE, broken
