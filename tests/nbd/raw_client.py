"""Any option and any request, legal or not, to any NBD server; what came back."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, NamedTuple, Self

from tests.nbd_client import receive

if TYPE_CHECKING:
    from pathlib import Path

_OPTION_MAGIC = 0x49484156454F5054
_OPTION_REPLY_MAGIC = 0x3E889045565A9
_REQUEST_MAGIC = 0x25609513
_SIMPLE, _STRUCTURED = 0x67446698, 0x668E33EF
_OFFSET_DATA, _OFFSET_HOLE, _BLOCK_STATUS = 1, 2, 5
_DONE = 1
_ERROR = 1 << 15
_READ, _WRITE = 0, 1


class Answer(NamedTuple):
    """A reply: error number (0: none), data of a READ, extents of a BLOCK_STATUS."""

    error: int
    data: bytes = b""
    extents: tuple[tuple[int, int], ...] = ()


class Chunk(NamedTuple):
    """One chunk of a structured reply."""

    last: bool
    kind: int
    payload: bytes


def named(export: str) -> bytes:
    """A name as most options begin with it."""
    return struct.pack(">I", len(export)) + export.encode()


def contexts(export: str, *queries: str) -> bytes:
    """The data of LIST_META_CONTEXT and SET_META_CONTEXT."""
    parts = b"".join(named(query) for query in queries)
    return named(export) + struct.pack(">I", len(queries)) + parts


def wanted(export: str, *items: int) -> bytes:
    """The data of INFO and GO."""
    return named(export) + struct.pack(f">H{len(items)}H", len(items), *items)


class RawClient:
    """One connection, greeted; reads until the server closes."""

    def __init__(self, where: int | Path, flags: int = 3) -> None:
        if isinstance(where, int):
            self.socket = socket.create_connection(("127.0.0.1", where))
        else:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(str(where))
        self.socket.settimeout(10)
        assert self.receive(16) == b"NBDMAGICIHAVEOPT"
        self.receive(2)
        self.socket.sendall(struct.pack(">I", flags))
        self._structured = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def receive(self, length: int) -> bytes:
        return receive(self.socket, length)

    # The handshake.

    def send_option(self, number: int, data: bytes = b"") -> None:
        header = struct.pack(">QII", _OPTION_MAGIC, number, len(data))
        self.socket.sendall(header + data)

    def option(self, number: int, data: bytes = b"") -> list[tuple[int, bytes]]:
        """Sends one option; returns its replies (type, data) up to the last."""
        self.send_option(number, data)
        replies: list[tuple[int, bytes]] = []
        while True:
            header = struct.unpack(">QIII", self.receive(20))
            magic, option, kind, length = header
            assert (magic, option) == (_OPTION_REPLY_MAGIC, number)
            replies.append((kind, self.receive(length)))
            if kind == 1 or kind >> 31:
                if number == 8 and kind == 1:
                    self._structured = True
                return replies

    def go(self, export: str, *, structured: bool = True) -> Self:
        """Enters the transmission phase, with base:allocation where it can."""
        if structured:
            self.option(8)
            self.option(10, contexts(export, "base:allocation"))
        assert self.option(7, wanted(export))[-1][0] == 1
        return self

    # Requests.

    def send(
        self, kind: int, flags: int, offset: int, length: int, data: bytes = b""
    ) -> None:
        header = struct.pack(">IHHQQI", _REQUEST_MAGIC, flags, kind, 77, offset, length)
        self.socket.sendall(header + data)

    def request(
        self, kind: int, flags: int, offset: int, length: int, data: bytes = b""
    ) -> Answer:
        """Sends one request and takes its whole reply.

        Raises:
            ConnectionError: the server dropped the connection.
        """
        self.send(kind, flags, offset, length, data)
        (magic,) = struct.unpack(">I", self.receive(4))
        if magic == _SIMPLE:
            error, cookie = struct.unpack(">IQ", self.receive(12))
            assert cookie == 77
            found = self.receive(length) if kind == _READ and not error else b""
            return Answer(error, found)
        assert magic == _STRUCTURED
        assert self._structured
        chunks = [self._chunk()]
        while not chunks[-1].last:
            assert struct.unpack(">I", self.receive(4))[0] == _STRUCTURED
            chunks.append(self._chunk())
        errors = [chunk for chunk in chunks if chunk.kind & _ERROR]
        if errors:
            return Answer(struct.unpack_from(">I", errors[0].payload)[0])
        return _assemble(chunks, offset, length if kind == _READ else 0)

    def _chunk(self) -> Chunk:
        flags, kind, cookie, length = struct.unpack(">HHQI", self.receive(16))
        assert cookie == 77
        return Chunk(bool(flags & _DONE), kind, self.receive(length))


def _assemble(chunks: list[Chunk], offset: int, length: int) -> Answer:
    data, seen = bytearray(length), 0
    extents: tuple[tuple[int, int], ...] = ()
    for chunk in chunks:
        if chunk.kind == _BLOCK_STATUS:
            extents = tuple(struct.iter_unpack(">II", chunk.payload[4:]))
        elif chunk.kind in (_OFFSET_DATA, _OFFSET_HOLE):
            (at,) = struct.unpack_from(">Q", chunk.payload)
            size = len(chunk.payload) - 8
            if chunk.kind == _OFFSET_HOLE:
                (size,) = struct.unpack_from(">I", chunk.payload, 8)
            else:
                data[at - offset : at - offset + size] = chunk.payload[8:]
            assert offset <= at
            assert at + size <= offset + length
            seen += size
    assert seen == length  # no chunk overlaps another, and none is missing
    return Answer(0, bytes(data), extents)
