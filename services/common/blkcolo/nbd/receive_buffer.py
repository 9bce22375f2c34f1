"""What a connection has received: the requests in it, with few copies.

The kernel fills one buffer that is used again and again. A write that is large beside
it gets a buffer of its own as soon as its header is there: the kernel puts the rest of
the payload where it is needed, and nothing is moved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blkcolo.nbd import requests, write_burst
from blkcolo.nbd.constants import Command
from blkcolo.nbd.requests import HEADER, Request

if TYPE_CHECKING:
    from blkcolo.nbd.write_burst import WriteBurst

_BUFFER = 256 << 10
#: Requests longer than this get a buffer of their own, in bytes.
_LARGE = _BUFFER // 2
#: Such a buffer is kept for the next one, unless it is longer than this.
_KEPT = 2 << 20
#: Behind a large write, another one's header is expected, and little behind it.
_BEHIND_LARGE = 16 << 10
_HEADER = HEADER.size
_WRITE = int(Command.WRITE)


class ReceiveBuffer:
    """Bytes in, requests out.

    Attributes:
        payload: the data of the request that `next_request` found; valid until it is
            consumed.
    """

    def __init__(self) -> None:
        """Starts empty."""
        self._main = bytearray(_BUFFER)
        self._view = memoryview(self._main)
        self._start = self._end = 0
        self._size = 0
        self._kept = memoryview(b"")
        #: The large write under way: its header, its payload, and how much is there.
        self._large: Request | None = None
        self._large_payload = memoryview(b"")
        self._filled = 0
        self._limit = _BUFFER
        self.payload = memoryview(b"")

    @property
    def size(self) -> int:
        """The bytes that it holds on to."""
        return len(self._main) + len(self._kept)

    @property
    def empty(self) -> bool:
        """True if nothing of a further request has come."""
        return self._start == self._end and self._large is None

    def room(self) -> memoryview:
        """Where the kernel may put bytes; not empty after `next_request` found none."""
        if self._large is not None and self._filled < len(self._large_payload):
            return self._large_payload[self._filled :]
        return self._view[self._end : self._end + self._limit]

    def received(self, count: int) -> None:
        """So many bytes were put at the start of what `room` gave."""
        if self._large is not None and self._filled < len(self._large_payload):
            self._filled += count
        else:
            self._end += count

    def take_all(self) -> bytes:
        """Everything that is there; for what comes before the first request."""
        taken = bytes(self._view[self._start : self._end])
        self._start = self._end = 0
        return taken

    def put_back(self, rest: bytes) -> None:
        """What of `take_all` belongs to the first requests."""
        self._view[: len(rest)] = rest
        self._start, self._end = 0, len(rest)

    def next_request(self) -> Request | None:
        """The oldest request if all of it is there; it stays until it is consumed.

        Raises:
            ProtocolViolationError: nobody knows where the next request starts.
        """
        if self._large is not None:
            return self._next_large(self._large)
        have = self._end - self._start
        if have < _HEADER:
            self._make_room(_HEADER)
            return None
        request = requests.parse(self._main, self._start)
        self._size = size = (
            _HEADER + request.length if request.kind == _WRITE else _HEADER
        )
        if have >= size:
            self.payload = self._view[self._start + _HEADER : self._start + size]
            return request
        if size > _LARGE:
            self._begin_large(request)
        else:
            self._make_room(size)
        return None

    def next_burst(self, disk_size: int) -> WriteBurst | None:
        """The small writes that come next, if they are many; see `write_burst`."""
        if self._large is not None:
            return None
        return write_burst.find(self._view, self._start, self._end, disk_size)

    def consume_of(self, burst: WriteBurst, count: int) -> None:
        """The first `count` writes of a burst are done with."""
        self._size = count * burst.stride
        self.consume()

    def consume(self) -> bool:
        """The request is done with, its payload given up; True if more is there."""
        if self._large is not None:
            self._large = None
            self._limit = _BEHIND_LARGE
            if len(self._kept) > _KEPT:
                self._kept = self._large_payload = self.payload = memoryview(b"")
            return self._start < self._end
        self._limit = _BUFFER
        self._start += self._size
        if self._start < self._end:
            return True
        self._start = self._end = 0
        return False

    def _next_large(self, request: Request) -> Request | None:
        if self._filled < request.length:
            return None
        self.payload = self._large_payload
        return request

    def _begin_large(self, request: Request) -> None:
        """Moves what is there of the payload to a buffer that takes all of it."""
        if len(self._kept) < request.length:
            self._kept = memoryview(bytearray(request.length))
        self._large = request
        self._large_payload = self._kept[: request.length]
        rest = self._view[self._start + _HEADER : self._end]
        self._large_payload[: len(rest)] = rest
        self._filled = len(rest)
        self._start = self._end = 0

    def _make_room(self, size: int) -> None:
        """Moves what is there to the front, where `size` bytes would not fit behind."""
        if self._start + size > len(self._main):
            have = self._end - self._start
            self._view[:have] = self._view[self._start : self._end]  # as memmove
            self._start, self._end = 0, have
