"""What a request other than a WRITE asks of an export, and the reply's bytes.

WRITE is not here: it is the hot path, and stays with the connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blkcolo.nbd import replies
from blkcolo.nbd.constants import Command, CommandFlag
from blkcolo.nbd.read_reply import read_chunks

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from blkcolo.nbd.handshake import Session
    from blkcolo.nbd.requests import Request

    #: The reply, or what it waits for; None: nothing is replied.
    Outcome = Sequence[bytes | bytearray] | asyncio.Future[None] | None


def carry_out(session: Session, request: Request) -> Outcome:
    """Hands a checked request to the export; raises OSError."""
    export, flags = session.export, request.flags
    offset, length = request.offset, request.length
    fua = bool(flags & CommandFlag.FUA)
    wait: asyncio.Future[None] | None = None
    match request.command:
        case Command.READ:
            return read_chunks(session, request)
        case Command.BLOCK_STATUS:
            extents = export.allocation(offset, length)
            one = bool(flags & CommandFlag.REQ_ONE)
            return [replies.block_status(request.cookie, extents, length, one=one)]
        case Command.DISC:
            return None
        case Command.WRITE_ZEROES:
            wait = export.zero(
                offset,
                length,
                may_trim=not flags & CommandFlag.NO_HOLE,
                fast=bool(flags & CommandFlag.FAST_ZERO),
                fua=fua,
            )
        case Command.TRIM:
            wait = export.trim(offset, length, fua=fua)
        case Command.FLUSH:
            wait = export.flush()
        case Command.CACHE | Command.WRITE | None:
            pass  # the page cache decides; the range was checked
    return wait if wait is not None else [replies.simple(request.cookie)]
