"""A load of random writes that knows to the microsecond when each was completed.

fio's logs have a resolution of a millisecond (log_unix_epoch and
log_alternate_epoch change where they start, not that), which is a fifth of the stall
that is to be seen. So this client keeps the same depth of writes under way on one
connection, and notes the clock each time replies come. Its offsets are random, and
each reply's slot is filled again at once, as fio does; or, with a rate, when the next
write is due (`pace`). It runs in a process of its own (`in_background`), so nothing
that the benchmark does meanwhile holds it up.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import select
import signal
import struct
from array import array
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from time import monotonic_ns
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.bench.load.pace import Pace
from tests.nbd_client import NbdClient

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from concurrent.futures import Future

    from tests.bench.load.loads import Load

_REQUEST = struct.Struct(">IHHQQI")
_REPLY = struct.Struct(">IIQ")
_REQUEST_MAGIC, _REPLY_MAGIC = 0x25609513, 0x67446698
_WRITE = 1
_NS = 1_000_000_000
#: Where a request has its offset.
_OFFSET = struct.Struct(">Q")
_OFFSET_AT = 16


@contextmanager
def in_background(
    uri: str, load: Load, seconds: float, size: int, rate: float | None = None
) -> Iterator[Future[array[int]]]:
    """Runs `completions` in a process of its own; the Future has what it returns."""
    spawn = multiprocessing.get_context("spawn")
    # Ctrl-C reaches that process as well: it ends with what it was asked for.
    ignored = (signal.SIGINT, signal.SIG_IGN)
    with ProcessPoolExecutor(
        1, mp_context=spawn, initializer=signal.signal, initargs=ignored
    ) as pool:
        yield pool.submit(completions, uri, load, seconds, size, rate)


def completions(
    uri: str, load: Load, seconds: float, size: int, rate: float | None = None
) -> array[int]:
    """Writes for so many seconds on the first `size` bytes of an export.

    Args:
        uri: the export.
        load: block size, and how many writes are under way at most.
        seconds: how long writes are sent.
        size: in bytes.
        rate: writes a second by a fixed schedule; None for as many as there can be.

    Returns:
        When each write was completed, in ns of time.monotonic, which is one clock for
        all processes.

    Raises:
        AssertionError: a write failed, or an answer is none to what is under way.
    """
    where = urlsplit(uri)
    assert where.port is not None
    with NbdClient(where.port, where.path.lstrip("/")) as client:
        writer = _Writer(client.socket, load, size)
        now = monotonic_ns()
        pace, until = Pace(now, rate), now + int(seconds * _NS)
        while now < until:
            writer.send(pace.due(now) - writer.sent)
            now = writer.receive(min(pace.at(writer.sent), until))
        while writer.under_way:
            writer.receive()
    return writer.completions


class _Writer:
    """The writes under way on one connection.

    Attributes:
        sent: so many writes.
        completions: when each of those that were answered was, in ns.
    """

    def __init__(self, peer: socket.socket, load: Load, size: int) -> None:
        self._peer = peer
        self._requests = _requests(load)
        self._free = list(range(load.depth))
        self._block_bytes = load.block_bytes
        self._blocks = size // load.block_bytes
        self._rest = b""
        self.sent = 0
        self.completions: array[int] = array("q")

    @property
    def under_way(self) -> int:
        """Writes without an answer."""
        return self.sent - len(self.completions)

    def send(self, due: int) -> None:
        """Sends so many writes, or as many as there are slots for."""
        slots = self._free[: max(0, due)]
        if not slots:
            return
        del self._free[: len(slots)]
        for slot in slots:
            offset = int(random.random() * self._blocks) * self._block_bytes  # noqa: S311 - no secret
            _OFFSET.pack_into(self._requests[slot], _OFFSET_AT, offset)
        self._peer.sendall(b"".join([self._requests[slot] for slot in slots]))
        self.sent += len(slots)

    def receive(self, until: int | None = None) -> int:
        """Waits for answers; where there is a free slot, until then at most.

        Returns:
            The time now.
        """
        if self._free and until is not None:
            seconds = max(0, until - monotonic_ns()) / _NS
            if not select.select([self._peer], [], [], seconds)[0]:
                return monotonic_ns()
        received = self._peer.recv(1 << 16)
        now = monotonic_ns()
        assert received, "the server has closed the connection"
        self._rest += received
        whole = len(self._rest) - len(self._rest) % _REPLY.size
        ended = [_slot(reply) for reply in _REPLY.iter_unpack(self._rest[:whole])]
        self._rest = self._rest[whole:]
        self._free += ended
        self.completions.extend([now] * len(ended))
        return now


def _requests(load: Load) -> list[bytearray]:
    """One for each write that is under way at once; the slot is its cookie."""
    return [
        bytearray(
            _REQUEST.pack(_REQUEST_MAGIC, 0, _WRITE, slot, 0, load.block_bytes)
            + os.urandom(load.block_bytes)
        )
        for slot in range(load.depth)
    ]


def _slot(reply: tuple[int, int, int]) -> int:
    magic, error, slot = reply
    assert (magic, error) == (_REPLY_MAGIC, 0)
    return slot
