"""Tells the log how far a start is that has to read a large Disk Buffer back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

_log = structlog.get_logger(__name__)

#: Seconds between two lines.
_EVERY = 2.0


class LoadProgress:
    """Called with a file's name, the bytes read, and its size."""

    def __init__(self, group: str, clock: Callable[[], float]) -> None:
        """Takes the group's name and a clock in seconds."""
        self._group = group
        self._clock = clock
        self._said_at = clock()

    def __call__(self, name: str, done: int, size: int) -> None:
        """Says it when it takes long."""
        now = self._clock()
        if now - self._said_at < _EVERY:
            return
        self._said_at = now
        _log.info(
            "reading the Disk Buffer back",
            group=self._group,
            file=name,
            read_bytes=done,
            size_bytes=size,
            percent=round(100 * done / size),
        )
