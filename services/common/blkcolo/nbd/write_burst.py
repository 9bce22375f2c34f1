"""A burst: small writes of one length that came together, taken in one go.

A client with a deep queue sends dozens of writes before it waits for a reply. What a
request costs besides its bytes is then paid once a burst: the headers lie one stride
apart in the receive buffer, so they are checked as columns, and the replies are made
as one. Nothing else changes: a burst is what its requests are one after the other, and
ends before the first one that is anything but a plain write inside the disk.
"""

from __future__ import annotations

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
#: Fewer cost less one by one.
_LEAST = 8


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


def find(buffer: memoryview, disk_size: int) -> WriteBurst | None:
    """The burst at the start of what was received; None if it is not worth it.

    Args:
        buffer: whole requests, and the start of another one maybe.
        disk_size: of the export, in bytes; what leaves it is no part of a burst.
    """
    if len(buffer) < _LEAST * _HEADER.itemsize:
        return None
    length = int.from_bytes(buffer[_HEADER.itemsize - 4 : _HEADER.itemsize])
    stride = _HEADER.itemsize + length
    count = len(buffer) // stride
    if count < _LEAST or not 0 < length <= disk_size:
        return None
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
