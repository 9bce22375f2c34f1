"""Why a disk failed, in the service's log: once a second of each connection at most."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import structlog

from blkcolo.nbd import replies
from blkcolo.nbd.constants import NbdError

if TYPE_CHECKING:
    from collections.abc import Callable

    from blkcolo.nbd.requests import Request

_log = structlog.get_logger(__name__)

#: Errors that an operator must hear of.
_OF_THE_DISK = frozenset({NbdError.EIO, NbdError.ENOSPC, NbdError.ENOMEM})
_SILENT_SECONDS = 1.0


class FailureLog:
    """The failed requests of one connection."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Nothing failed yet; the clock is in seconds, and never jumps."""
        self._clock = clock
        self._silent_until = -math.inf

    def failed(self, volume: str, request: Request, error: OSError) -> None:
        """Says why, if it is the disk's fault."""
        now = self._clock()
        ours = replies.error_number(error) in _OF_THE_DISK
        if not ours or now < self._silent_until:
            return
        self._silent_until = now + _SILENT_SECONDS
        _log.error(
            "request failed",
            volume=volume,
            command=request.command.name if request.command else "",
            offset=request.offset,
            length=request.length,
            error=error.strerror or str(error),
        )
