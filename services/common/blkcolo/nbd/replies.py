"""Replies of the transmission phase: simple and structured."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from blkcolo.nbd.constants import (
    BASE_ALLOCATION_ID,
    CHUNK_DONE,
    SIMPLE_REPLY_MAGIC,
    STRUCTURED_REPLY_MAGIC,
    Chunk,
    NbdError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from blkcolo.nbd.export import Allocation, AllocationExtent

_SIMPLE = struct.Struct(">IIQ")
_CHUNK = struct.Struct(">IHHQI")
_OFFSET_CHUNK = struct.Struct(">IHHQIQ")

SIMPLE_SIZE = _SIMPLE.size
DATA_CHUNK_SIZE = _OFFSET_CHUNK.size

_BY_ERRNO = {
    errno.EPERM: NbdError.EPERM,
    errno.EACCES: NbdError.EPERM,
    errno.EROFS: NbdError.EPERM,
    errno.ENOMEM: NbdError.ENOMEM,
    errno.EINVAL: NbdError.EINVAL,
    errno.ENOSPC: NbdError.ENOSPC,
    errno.EDQUOT: NbdError.ENOSPC,
    errno.EFBIG: NbdError.ENOSPC,
    errno.EOVERFLOW: NbdError.EOVERFLOW,
    errno.ENOTSUP: NbdError.ENOTSUP,
    errno.ESHUTDOWN: NbdError.ESHUTDOWN,
}


def error_number(error: OSError) -> NbdError:
    """What goes on the wire for an errno: EIO unless the protocol has it."""
    return _BY_ERRNO.get(error.errno or 0, NbdError.EIO)


def simple(cookie: int, error: int = 0) -> bytes:
    """A simple reply without data."""
    return _SIMPLE.pack(SIMPLE_REPLY_MAGIC, error, cookie)


def put_simple(target: bytearray, cookie: int) -> None:
    """Writes the header of a successful simple reply to a READ."""
    _SIMPLE.pack_into(target, 0, SIMPLE_REPLY_MAGIC, 0, cookie)


def put_data_chunk(
    target: bytearray, cookie: int, offset: int, length: int, *, last: bool
) -> None:
    """Writes the header of an OFFSET_DATA chunk of `length` data bytes."""
    flags = CHUNK_DONE if last else 0
    kind = Chunk.OFFSET_DATA
    _OFFSET_CHUNK.pack_into(
        target, 0, STRUCTURED_REPLY_MAGIC, flags, kind, cookie, length + 8, offset
    )


def hole_chunk(cookie: int, offset: int, length: int, *, last: bool) -> bytes:
    """An OFFSET_HOLE chunk: the extent reads as zeros."""
    flags = CHUNK_DONE if last else 0
    kind = Chunk.OFFSET_HOLE
    head = _OFFSET_CHUNK.pack(STRUCTURED_REPLY_MAGIC, flags, kind, cookie, 12, offset)
    return head + struct.pack(">I", length)


def error_chunk(cookie: int, error: int) -> bytes:
    """An ERROR chunk that ends the reply."""
    head = _CHUNK.pack(STRUCTURED_REPLY_MAGIC, CHUNK_DONE, Chunk.ERROR, cookie, 6)
    return head + struct.pack(">IH", error, 0)


def block_status(
    cookie: int, extents: Iterable[AllocationExtent], length: int, *, one: bool
) -> bytes:
    """A BLOCK_STATUS chunk: at least one extent, none beyond `length` bytes.

    A request's length has 32 bits, and so have the extents and their sum.
    """
    merged: list[tuple[int, Allocation]] = []
    left = length
    for extent in extents:
        size = min(extent.length, left)
        if size <= 0:
            break
        left -= size
        if merged and merged[-1][1] == extent.flags:
            merged[-1] = (merged[-1][0] + size, extent.flags)
        else:
            merged.append((size, extent.flags))
    if one:
        del merged[1:]
    payload = struct.pack(">I", BASE_ALLOCATION_ID) + b"".join(
        struct.pack(">II", size, flags) for size, flags in merged
    )
    kind = Chunk.BLOCK_STATUS
    head = _CHUNK.pack(STRUCTURED_REPLY_MAGIC, CHUNK_DONE, kind, cookie, len(payload))
    return head + payload
