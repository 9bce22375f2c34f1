"""What a server must survive: silence, crowds, garbage and slow readers."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from typing import TYPE_CHECKING, ClassVar

import pytest

from blkcolo.addresses import Address
from blkcolo.nbd.export import Allocation, AllocationExtent
from blkcolo.nbd.server import NbdServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

_MAGIC = 0x49484156454F5054


class MemoryExport:
    """A disk in memory that can be told to hold writes up."""

    name, description, read_only = "m", "memory", False

    def __init__(self, size: int) -> None:
        self.content = bytearray(size)
        self.gate: asyncio.Future[None] | None = None

    @property
    def size(self) -> int:
        return len(self.content)

    def opened(self) -> None:
        pass

    def closed(self) -> None:
        pass

    def admit(self, offset: int, length: int) -> asyncio.Future[None] | None:
        return self.gate if self.gate is not None and not self.gate.done() else None

    def read_into(self, offset: int, target: memoryview) -> None:
        target[:] = self.content[offset : offset + len(target)]

    def write(self, offset: int, data: memoryview, *, fua: bool) -> None:
        self.content[offset : offset + len(data)] = data

    def write_each(self, offsets: Sequence[int], pieces: Sequence[memoryview]) -> int:
        for offset, piece in zip(offsets, pieces, strict=True):
            self.write(offset, piece, fua=False)
        return len(offsets)

    def zero(
        self, offset: int, length: int, *, may_trim: bool, fast: bool, fua: bool
    ) -> None:
        self.content[offset : offset + length] = bytes(length)

    def trim(self, offset: int, length: int, *, fua: bool) -> None:
        self.content[offset : offset + length] = bytes(length)

    def flush(self) -> None:
        return None

    def allocation(self, offset: int, length: int) -> list[AllocationExtent]:
        return [AllocationExtent(length, Allocation.DATA)]


@pytest.fixture
async def export() -> MemoryExport:
    return MemoryExport(64 << 20)


@pytest.fixture
async def server(export: MemoryExport) -> AsyncIterator[NbdServer]:
    server = NbdServer({"m": export}, handshake_timeout=0.3, max_connections=4)
    await server.start(Address("127.0.0.1", 0))
    yield server
    while Client.opened:
        writer = Client.opened.pop().writer
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    await server.stop()


class Client:
    """Raw bytes on a connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    opened: ClassVar[list[Client]] = []

    @classmethod
    async def connect(cls, server: NbdServer) -> Client:
        client = cls()
        cls.opened.append(client)
        assert server.bound is not None
        client.reader, client.writer = await asyncio.open_connection(
            server.bound.host, server.bound.port, limit=1 << 16
        )
        return client

    async def negotiate(self) -> Client:
        await self.reader.readexactly(18)
        self.writer.write(struct.pack(">IQII", 3, _MAGIC, 1, 1) + b"m")
        await self.reader.readexactly(10)
        return self

    def send(self, kind: int, offset: int, length: int, data: bytes = b"") -> None:
        header = struct.pack(">IHHQQI", 0x25609513, 0, kind, 7, offset, length)
        self.writer.write(header + data)

    async def reply(self, data: int = 0) -> tuple[int, bytes]:
        magic, error, _ = struct.unpack(">IIQ", await self.reader.readexactly(16))
        assert magic == 0x67446698
        return error, await self.reader.readexactly(data)

    async def dropped(self) -> bool:
        async with asyncio.timeout(5):
            try:
                while await self.reader.read(1 << 16):
                    pass
            except ConnectionError:
                pass
        return True


async def test_silent_client_is_dropped_at_the_handshake_deadline(
    server: NbdServer,
) -> None:
    client = await Client.connect(server)
    assert await client.dropped()


async def test_client_that_negotiated_may_be_silent_for_long(
    server: NbdServer,
) -> None:
    client = await (await Client.connect(server)).negotiate()
    assert await (await Client.connect(server)).dropped()  # a deadline has passed
    client.send(0, 0, 512)
    assert (await client.reply(512))[0] == 0


async def test_connections_beyond_the_limit_are_dropped_and_others_served(
    server: NbdServer,
) -> None:
    clients = [await (await Client.connect(server)).negotiate() for _ in range(4)]
    assert await (await Client.connect(server)).dropped()
    clients[0].send(0, 0, 512)
    assert (await clients[0].reply(512))[0] == 0
    closing = asyncio.gather(*(c.closed.wait() for c in server.connections))
    for client in clients:
        client.writer.close()
    async with asyncio.timeout(5):
        await closing
    await (await Client.connect(server)).negotiate()


async def test_garbage_and_oversize_end_the_connection_without_allocation(
    server: NbdServer,
) -> None:
    garbage = await (await Client.connect(server)).negotiate()
    garbage.writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n   ")
    assert await garbage.dropped()
    oversize = await (await Client.connect(server)).negotiate()
    (connection,) = server.connections
    oversize.send(1, 0, (32 << 20) + 1)
    assert await oversize.dropped()
    assert connection._received.size < 1 << 20


async def test_largest_write_arrives_whole_and_the_buffer_shrinks_again(
    server: NbdServer, export: MemoryExport
) -> None:
    client = await (await Client.connect(server)).negotiate()
    (connection,) = server.connections
    data = bytes(range(256)) * (32 << 12)
    client.send(1, 512, len(data), data)
    client.send(0, 512, 4096)
    assert (await client.reply())[0] == 0
    assert (await client.reply(4096))[1] == data[:4096]
    assert export.content[512 : 512 + len(data)] == data
    assert connection._received.size < 1 << 20


async def test_reader_that_does_not_read_holds_up_only_itself(
    server: NbdServer,
) -> None:
    slow = await (await Client.connect(server)).negotiate()
    other = await (await Client.connect(server)).negotiate()
    for _ in range(256):
        slow.send(0, 0, 1 << 20)
    other.send(0, 0, 512)
    assert (await other.reply(512))[0] == 0
    backlog = max(
        c._transport.get_write_buffer_size() + c._out_bytes for c in server.connections
    )
    assert backlog < 16 << 20
    for _ in range(256):
        assert (await slow.reply(1 << 20))[0] == 0


async def test_client_that_never_takes_its_last_replies_is_dropped(
    server: NbdServer,
) -> None:
    client = await (await Client.connect(server)).negotiate()
    (connection,) = server.connections
    for _ in range(16):
        client.send(0, 0, 8 << 20)
    connection.finish()  # it asks no more; 128 MiB are on their way
    async with asyncio.timeout(5):
        await connection.closed.wait()
    assert not server.connections


async def test_write_waits_for_the_gate_and_then_goes_on_in_order(
    server: NbdServer, export: MemoryExport
) -> None:
    client = await (await Client.connect(server)).negotiate()
    export.gate = asyncio.get_running_loop().create_future()
    client.send(0, 0, 512)
    client.send(1, 0, 512, b"a" * 512)
    client.send(0, 0, 512)
    assert (await client.reply(512)) == (0, bytes(512))
    assert export.content[0] == 0
    export.gate.set_result(None)
    assert (await client.reply())[0] == 0
    assert (await client.reply(512)) == (0, b"a" * 512)


async def test_half_closed_client_still_gets_its_replies(server: NbdServer) -> None:
    client = await (await Client.connect(server)).negotiate()
    client.send(0, 0, 4096)
    client.send(2, 0, 0)
    client.writer.write_eof()
    assert (await client.reply(4096))[0] == 0
    assert await client.dropped()


async def test_write_of_a_half_closed_client_is_done_when_the_gate_opens(
    server: NbdServer, export: MemoryExport
) -> None:
    client = await (await Client.connect(server)).negotiate()
    export.gate = asyncio.get_running_loop().create_future()
    client.send(0, 0, 512)
    client.send(1, 0, 512, b"z" * 512)
    client.writer.write_eof()
    assert (await client.reply(512))[0] == 0
    export.gate.set_result(None)
    assert (await client.reply())[0] == 0
    assert export.content[:512] == b"z" * 512
    assert await client.dropped()
