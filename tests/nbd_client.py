"""A small NBD client for tests: one connection, blocking, simple replies."""

from __future__ import annotations

import socket
import struct
from typing import Self

_OPTION_MAGIC = 0x49484156454F5054


def receive(peer: socket.socket, length: int) -> bytes:
    """Exactly so many bytes; raises ConnectionResetError if the peer closes before."""
    data = bytearray()
    while len(data) < length:
        part = peer.recv(length - len(data))
        if not part:
            raise ConnectionResetError
        data += part
    return bytes(data)


class NbdReplyError(Exception):
    """The server answered with this error number."""

    def __init__(self, number: int) -> None:
        super().__init__(f"NBD error {number}")
        self.number = number


class NbdClient:
    """Connects with EXPORT_NAME, the oldest way in."""

    def __init__(self, port: int, export: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._cookie = 0
        try:
            self.size, self.flags = self._negotiate(export.encode())
        except BaseException:
            self.socket.close()
            raise

    def _negotiate(self, name: bytes) -> tuple[int, int]:
        """Chooses the export; its size in bytes, and its flags."""
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        assert receive(self.socket, 16) == b"NBDMAGICIHAVEOPT"
        receive(self.socket, 2)
        self.socket.sendall(struct.pack(">IQII", 3, _OPTION_MAGIC, 1, len(name)) + name)
        size, flags = struct.unpack(">QH", receive(self.socket, 10))
        return size, flags

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def request(
        self, kind: int, offset: int, length: int, data: bytes = b"", flags: int = 0
    ) -> None:
        """Sends one request and takes its reply's header."""
        self._cookie += 1
        header = struct.pack(
            ">IHHQQI", 0x25609513, flags, kind, self._cookie, offset, length
        )
        self.socket.sendall(header + data)
        magic, error, cookie = struct.unpack(">IIQ", receive(self.socket, 16))
        assert (magic, cookie) == (0x67446698, self._cookie)
        if error:
            raise NbdReplyError(error)

    def read(self, offset: int, length: int) -> bytes:
        self.request(0, offset, length)
        return receive(self.socket, length)

    def write(self, offset: int, data: bytes, flags: int = 0) -> None:
        self.request(1, offset, len(data), data, flags)

    def flush(self) -> None:
        self.request(3, 0, 0)
