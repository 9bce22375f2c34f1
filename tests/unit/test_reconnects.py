"""A channel whose peer is away looks for it often: calls fail until it is found."""

from __future__ import annotations

import asyncio
import statistics
from contextlib import suppress
from itertools import pairwise

import grpc

from blkcolo.addresses import Address
from blkcolo.rpc.client import Dialer

_ATTEMPTS = 8
_Method = grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]


async def test_a_channel_tries_twice_a_second_however_long_that_was_in_vain() -> None:
    loop, attempts = asyncio.get_running_loop(), list[float]()
    enough = asyncio.Event()

    async def hang_up(_reader: object, writer: asyncio.StreamWriter) -> None:
        attempts.append(loop.time())
        writer.close()
        if len(attempts) == _ATTEMPTS:
            enough.set()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, Dialer().open(Address("127.0.0.1", port)) as channel:
        method: _Method = channel.unary_unary("/Test/Any")
        while not enough.is_set():
            with suppress(grpc.aio.AioRpcError):
                await method(b"", timeout=5)
            await asyncio.sleep(0.02)
    last = [later - earlier for earlier, later in pairwise(attempts)][-4:]
    assert statistics.median(last) < 1.0, "twice what it should be, for a slow machine"
