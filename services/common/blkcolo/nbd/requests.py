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
#: Commands that change the disk.
WRITES = frozenset({Command.WRITE, Command.TRIM, Command.WRITE_ZEROES})
_NO_SPACE = frozenset({Command.WRITE, Command.WRITE_ZEROES})
_LIMITED = frozenset({Command.READ})
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
    if kind == Command.WRITE and length > MAX_PAYLOAD:
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
    command = request.command
    # int(): the complement of an IntFlag leaves unknown bits out.
    if command is None or request.flags & ~int(_ALLOWED_FLAGS[command]):
        return NbdError.EINVAL
    if command in (Command.FLUSH, Command.DISC):
        return None
    if request.flags & CommandFlag.DF and not structured:
        return NbdError.EINVAL
    if command is Command.BLOCK_STATUS and not block_status:
        return NbdError.EINVAL
    if command in WRITES and read_only:
        return NbdError.EPERM
    if request.offset + request.length > size:
        return NbdError.ENOSPC if command in _NO_SPACE else NbdError.EINVAL
    if request.length == 0 or (command in _LIMITED and request.length > MAX_PAYLOAD):
        return NbdError.EINVAL
    return None
