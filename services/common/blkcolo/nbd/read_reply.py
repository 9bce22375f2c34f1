"""Answers a read: plain, or in chunks that leave holes out.

Spec: NBD doc/proto.md, "Structured reply chunk message".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blkcolo.nbd import replies
from blkcolo.nbd.constants import CommandFlag
from blkcolo.nbd.export import Allocation, AllocationExtent

if TYPE_CHECKING:
    from blkcolo.nbd.export import Export
    from blkcolo.nbd.handshake import Session
    from blkcolo.nbd.requests import Request

#: Reads from this length on are looked through for holes.
_HOLE_READ = 64 << 10
_MIN_HOLE = 4096


def read_chunks(session: Session, request: Request) -> list[bytes | bytearray]:
    """Reads, and encodes the reply; raises OSError before any of it exists."""
    if not session.structured:
        reply = bytearray(replies.SIMPLE_SIZE + request.length)
        data = memoryview(reply)[replies.SIMPLE_SIZE :]
        session.export.read_into(request.offset, data)
        replies.put_simple(reply, request.cookie)
        return [reply]
    chunks: list[bytes | bytearray] = []
    extents = _plan(session.export, request)
    at = request.offset
    for number, (length, is_hole) in enumerate(extents):
        last = number == len(extents) - 1
        if is_hole:
            chunks.append(replies.hole_chunk(request.cookie, at, length, last=last))
        else:
            reply = bytearray(replies.DATA_CHUNK_SIZE + length)
            data = memoryview(reply)[replies.DATA_CHUNK_SIZE :]
            session.export.read_into(at, data)
            replies.put_data_chunk(reply, request.cookie, at, length, last=last)
            chunks.append(reply)
        at += length
    return chunks


def _plan(export: Export, request: Request) -> list[tuple[int, bool]]:
    """Cuts a read into data and holes; DF and short reads stay whole."""
    if request.length < _HOLE_READ or request.flags & CommandFlag.DF:
        return [(request.length, False)]
    plan: list[tuple[int, bool]] = []
    left = request.length
    found = export.allocation(request.offset, request.length)
    rest = request.length - sum(extent.length for extent in found)
    for extent in (*found, *_data(rest)):
        length = min(extent.length, left)
        if length <= 0:
            break
        left -= length
        is_hole = bool(extent.flags & Allocation.ZERO) and length >= _MIN_HOLE
        if plan and plan[-1][1] == is_hole:
            plan[-1] = (plan[-1][0] + length, is_hole)
        else:
            plan.append((length, is_hole))
    return plan


def _data(length: int) -> list[AllocationExtent]:
    return [AllocationExtent(length, Allocation.DATA)] if length > 0 else []
