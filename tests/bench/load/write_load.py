"""A load of random writes that knows to the microsecond when each was completed.

fio's logs have a resolution of a millisecond (log_unix_epoch and
log_alternate_epoch change where they start, not that), which is a fifth of the stall
that is to be seen. So this client keeps the same depth of writes under way on one
connection, and notes the clock each time replies come. Its offsets are random, and
each reply's slot is filled again at once, as fio does. It runs in a process of its own
(`in_background`), so nothing that the benchmark does meanwhile holds it up.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import struct
from array import array
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from time import monotonic_ns
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.nbd_client import NbdClient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from tests.bench.load.loads import Load

_REQUEST = struct.Struct(">IHHQQI")
_REPLY = struct.Struct(">IIQ")
_REQUEST_MAGIC, _REPLY_MAGIC = 0x25609513, 0x67446698
_WRITE = 1
#: Where a request has its offset.
_OFFSET = struct.Struct(">Q")
_OFFSET_AT = 16


@contextmanager
def in_background(
    uri: str, load: Load, seconds: float, size: int
) -> Iterator[Future[array[int]]]:
    """Runs `completions` in a process of its own; the Future has what it returns."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        yield pool.submit(completions, uri, load, seconds, size)


def completions(uri: str, load: Load, seconds: float, size: int) -> array[int]:
    """Writes for so many seconds on the first `size` bytes of an export.

    Returns:
        When each write was completed, in ns of time.monotonic, which is one clock for
        all processes.

    Raises:
        AssertionError: a write failed, or an answer is none to what is under way.
    """
    where = urlsplit(uri)
    assert where.port is not None
    done: array[int] = array("q")
    with NbdClient(where.port, where.path.lstrip("/")) as client:
        slots = _slots(load)
        blocks = size // load.block_bytes
        _send(client, slots, range(load.depth), blocks, load.block_bytes)
        until = monotonic_ns() + int(seconds * 1e9)
        under_way = load.depth
        rest = b""
        while under_way:
            rest += client.socket.recv(1 << 16)
            now = monotonic_ns()
            whole = len(rest) - len(rest) % _REPLY.size
            ended = [_slot(reply) for reply in _REPLY.iter_unpack(rest[:whole])]
            rest = rest[whole:]
            done.extend([now] * len(ended))
            if now < until:
                _send(client, slots, ended, blocks, load.block_bytes)
            else:
                under_way -= len(ended)
    return done


def _slots(load: Load) -> list[bytearray]:
    """A request for each write that is under way at once; the slot is its cookie."""
    return [
        bytearray(
            _REQUEST.pack(_REQUEST_MAGIC, 0, _WRITE, slot, 0, load.block_bytes)
            + os.urandom(load.block_bytes)
        )
        for slot in range(load.depth)
    ]


def _send(
    client: NbdClient,
    slots: list[bytearray],
    free: range | list[int],
    blocks: int,
    block_bytes: int,
) -> None:
    for slot in free:
        offset = int(random.random() * blocks) * block_bytes  # noqa: S311 - no secret
        _OFFSET.pack_into(slots[slot], _OFFSET_AT, offset)
    client.socket.sendall(b"".join([slots[slot] for slot in free]))


def _slot(reply: tuple[int, int, int]) -> int:
    magic, error, slot = reply
    assert (magic, error) == (_REPLY_MAGIC, 0)
    return slot
