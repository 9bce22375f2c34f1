"""Replies to VM writes that wait for the secondary, in the order of the stream."""

from __future__ import annotations

import asyncio
import os
from collections import deque


class PendingReplies:
    """Futures by the seq that they wait for; seqs come in ascending order."""

    def __init__(self) -> None:
        """Nothing waits yet."""
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def wait_for(self, seq: int) -> asyncio.Future[None]:
        """A Future that ends when `release` reaches `seq`."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((seq, done))
        return done

    def release(self, reached: int) -> None:
        """Ends all that wait for `reached` or less."""
        while self._waiting and self._waiting[0][0] <= reached:
            self._end(self._waiting.popleft()[1])

    def release_all(self) -> None:
        """Ends all."""
        while self._waiting:
            self._end(self._waiting.popleft()[1])

    def refuse_all(self, number: int) -> None:
        """Ends all with an OSError of this errno."""
        while self._waiting:
            done = self._waiting.popleft()[1]
            if not done.done():
                done.set_exception(OSError(number, os.strerror(number)))

    @staticmethod
    def _end(done: asyncio.Future[None]) -> None:
        if not done.done():  # its client may have gone
            done.set_result(None)
