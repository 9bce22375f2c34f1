"""Messages that are received and not applied yet, bounded in bytes."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from blkcolo.stream import Batch
from blkcolo.wakeup import Wakeup

if TYPE_CHECKING:
    from blkcolo.errors import BlkcoloError
    from blkcolo.stream import Request

#: What a message without data counts, in bytes.
_MESSAGE_BYTES = 256


class Inbox:
    """The queue between the reader and the applier of one stream."""

    def __init__(self, bound: int) -> None:
        """Takes the bound in bytes; one message more is taken."""
        self._bound = bound
        self._bytes = 0
        self._messages: deque[tuple[int, Request]] = deque()
        self._nudged = False
        self._closed = False
        self._interrupted = False
        self._error: BlkcoloError | None = None
        self._changed = Wakeup()

    def put(self, seq: int, message: Request) -> int:
        """Adds a message; returns its size in bytes."""
        size = _size(message)
        self._messages.append((seq, message))
        self._bytes += size
        self._changed.fire()
        return size

    async def room(self) -> None:
        """Waits until more may be added."""
        while self._bytes >= self._bound:
            await self._changed.wait()

    def close(self, error: BlkcoloError | None) -> None:
        """Nothing more comes, and why, if that is an error."""
        self._closed, self._error = True, error
        self._changed.fire()

    def nudge(self) -> None:
        """The primary is to be told how things stand, though nothing came."""
        self._nudged = True
        self._changed.fire()

    async def take(self) -> tuple[int, Request | None] | None:
        """The next message; None at the stream's end or when it was replaced.

        A message of None stands for a nudge.
        """
        while not self._interrupted:
            if self._nudged:
                self._nudged = False
                return 0, None
            if self._messages:
                return self._messages.popleft()
            if self._error is not None:
                raise self._error
            if self._closed:
                return None
            await self._changed.wait()
        return None

    def interrupt(self) -> None:
        """Nothing more is to be taken."""
        self._interrupted = True
        self._changed.fire()

    def done(self, message: Request) -> None:
        """A message that was taken is applied."""
        self._bytes -= _size(message)
        self._changed.fire()


def _size(message: Request) -> int:
    if isinstance(message, Batch):
        return len(message.payload) + 32 * len(message.kinds)
    return _MESSAGE_BYTES
