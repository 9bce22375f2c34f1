"""A burst: small writes of one length that came together, taken in one go.

A client with a deep queue sends dozens of writes before it waits for a reply. What a
request costs besides its bytes is then paid once a burst: the headers lie one stride
apart in the receive buffer, so they are checked as columns, and the replies are made
as one. Nothing else changes: a burst is what its requests are one after the other, and
ends before the first one that is anything but a plain write inside the disk.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from blkcolo.nbd.constants import REQUEST_MAGIC, SIMPLE_REPLY_MAGIC, Command

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HEADER = np.dtype(
    [
        ("magic", ">u4"),
        ("flags", ">u2"),
        ("kind", ">u2"),
        ("cookie", ">u8"),
        ("offset", ">u8"),
        ("length", ">u4"),
    ]
)
_REPLY = np.dtype([("magic", ">u4"), ("error", ">u4"), ("cookie", ">u8")])
_HEADER_BYTES = _HEADER.itemsize
_LENGTH = struct.Struct(">I")
_LENGTH_AT = _HEADER_BYTES - _LENGTH.size
#: Fewer cost less one by one.
_LEAST = 8
_LEAST_BYTES = _LEAST * _HEADER_BYTES


class WriteBurst(NamedTuple):
    """Writes of one length, in the order in which they came.

    `offsets` are in bytes; `pieces`, the data of each, are views of the receive buffer.
    """

    offsets: list[int]
    pieces: list[memoryview]
    cookies: NDArray[np.uint64]
    stride: int

    def replies(self, count: int) -> bytes:
        """Simple replies to the first `count` of them: all went well."""
        replies = np.zeros(count, _REPLY)
        replies["magic"] = SIMPLE_REPLY_MAGIC
        replies["cookie"] = self.cookies[:count]
        return replies.tobytes()


def find(
    received: memoryview, start: int, end: int, disk_size: int
) -> WriteBurst | None:
    """The burst at the start of what was received; None if it is not worth it.

    Args:
        received: whole requests from `start` on, and the start of another one before
            `end` maybe.
        start: where the first request begins.
        end: where what was received ends.
        disk_size: of the export, in bytes; what leaves it is no part of a burst.
    """
    if end - start < _LEAST_BYTES:
        return None
    length: int = _LENGTH.unpack_from(received, start + _LENGTH_AT)[0]
    stride = _HEADER_BYTES + length
    count = (end - start) // stride
    if count < _LEAST or not 0 < length <= disk_size:
        return None
    buffer = received[start:end]
    headers: NDArray[np.void] = np.ndarray((count,), _HEADER, buffer, 0, (stride,))
    fits = (
        (headers["magic"] == REQUEST_MAGIC)
        & (headers["kind"] == Command.WRITE)
        & (headers["flags"] == 0)
        & (headers["length"] == length)
        & (headers["offset"] <= disk_size - length)
    )
    if not fits.all():
        count = int(fits.argmin())
        if count < _LEAST:
            return None
    return WriteBurst(
        headers["offset"][:count].tolist(),
        [buffer[at - length : at] for at in range(stride, count * stride + 1, stride)],
        headers["cookie"],
        stride,
    )
