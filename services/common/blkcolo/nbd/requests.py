"""Requests of the transmission phase: parsing, and the whole matrix of refusals.

A request is checked completely before anything is touched, and one refusal has one
error number. The connection survives every refusal here; only a wrong magic or a
WRITE whose payload is longer than the advertised maximum ends it, since then nobody
knows where the next request starts.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from blkcolo.nbd.constants import (
    MAX_PAYLOAD,
    REQUEST_MAGIC,
    Command,
    CommandFlag,
    NbdError,
)

HEADER = struct.Struct(">IHHQQI")

_FUA = CommandFlag.FUA  # legal on every command (proto.md, "Command flags")
_ALLOWED_FLAGS = {
    Command.READ: _FUA | CommandFlag.DF,
    Command.WRITE: _FUA,
    Command.DISC: _FUA,
    Command.FLUSH: _FUA,
    Command.TRIM: _FUA,
    Command.CACHE: _FUA,
    Command.WRITE_ZEROES: _FUA | CommandFlag.NO_HOLE | CommandFlag.FAST_ZERO,
    Command.BLOCK_STATUS: _FUA | CommandFlag.REQ_ONE,
}
#: Commands that change the disk, as they are on the wire.
WRITES = frozenset({int(Command.WRITE), int(Command.TRIM), int(Command.WRITE_ZEROES)})
# Plain numbers: enum arithmetic costs more than all the rest of a request's check.
_READ, _WRITE = int(Command.READ), int(Command.WRITE)
_BLOCK_STATUS = int(Command.BLOCK_STATUS)
_DF = int(CommandFlag.DF)
_NO_SPACE = frozenset({int(Command.WRITE), int(Command.WRITE_ZEROES)})
_WITHOUT_EXTENT = frozenset({int(Command.FLUSH), int(Command.DISC)})
_FORBIDDEN_FLAGS = {
    int(command): 0xFFFF & ~int(allowed) for command, allowed in _ALLOWED_FLAGS.items()
}
_COMMANDS = {command.value: command for command in Command}


class Request(NamedTuple):
    """One request; offset and length in bytes, `cookie` as the client chose it."""

    flags: int
    kind: int
    cookie: int
    offset: int
    length: int

    @property
    def command(self) -> Command | None:
        """The command; None if it is not known."""
        return _COMMANDS.get(self.kind)


class ProtocolViolationError(Exception):
    """The connection must be dropped."""


def parse(header: bytes | bytearray | memoryview, at: int) -> Request:
    """Parses the 28 bytes of a header.

    Raises:
        ProtocolViolationError: wrong magic, or a payload beyond the maximum.
    """
    magic, flags, kind, cookie, offset, length = HEADER.unpack_from(header, at)
    if magic != REQUEST_MAGIC:
        raise ProtocolViolationError(f"request magic {magic:#x}")
    if kind == _WRITE and length > MAX_PAYLOAD:
        raise ProtocolViolationError(f"a WRITE of {length} bytes")
    return Request(flags, kind, cookie, offset, length)


def refusal(
    request: Request,
    *,
    size: int,
    read_only: bool,
    structured: bool,
    block_status: bool,
) -> NbdError | None:
    """The error number of a request that must be refused; None for a good one.

    Args:
        request: the request.
        size: the export's size in bytes.
        read_only: the export refuses writes.
        structured: structured replies were negotiated.
        block_status: base:allocation was negotiated.
    """
    flags, kind, _, offset, length = request
    forbidden = _FORBIDDEN_FLAGS.get(kind)
    if forbidden is None or flags & forbidden:
        return NbdError.EINVAL
    if kind in _WITHOUT_EXTENT:
        return None
    if flags & _DF and not structured:
        return NbdError.EINVAL
    if kind == _BLOCK_STATUS and not block_status:
        return NbdError.EINVAL
    if read_only and kind in WRITES:
        return NbdError.EPERM
    if offset + length > size:
        return NbdError.ENOSPC if kind in _NO_SPACE else NbdError.EINVAL
    if length == 0 or (kind == _READ and length > MAX_PAYLOAD):
        return NbdError.EINVAL
    return None
