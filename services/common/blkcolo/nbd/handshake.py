"""The fixed newstyle handshake, sans-IO: bytes in, bytes and an outcome out.

    GREETING --client flags--> OPTIONS --GO / EXPORT_NAME--> TRANSMISSION
                               OPTIONS --ABORT, a protocol violation--> CLOSED
                               OPTIONS --STARTTLS--> UPGRADING --`secured`--> OPTIONS

Theory of operation: `receive` takes whatever came, answers every whole option into
`output`, and keeps the rest. An option that is wrong gets its error reply and the
session stays in OPTIONS, as the specification demands; only what cannot be answered
(bad magic, unknown client flags, EXPORT_NAME of a missing export) closes. Where TLS is
mandatory, nothing but STARTTLS and ABORT is served before it. A client that sends
anything between STARTTLS and the end of the TLS handshake is dropped: somebody may
have slipped it in.
"""

from __future__ import annotations

import enum
import struct
from typing import TYPE_CHECKING, NamedTuple

from blkcolo.nbd.constants import (
    BASE_ALLOCATION,
    BASE_ALLOCATION_ID,
    FLAG_FIXED_NEWSTYLE,
    FLAG_NO_ZEROES,
    INIT_MAGIC,
    MAX_NAME,
    MAX_OPTION,
    MAX_OPTIONS,
    MAX_PAYLOAD,
    MIN_BLOCK,
    OPTION_MAGIC,
    OPTION_REPLY_MAGIC,
    PREFERRED_BLOCK,
    Info,
    Option,
    OptionReply,
    TransmissionFlag,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from blkcolo.nbd.export import Export

_FLAGS = FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES
GREETING = INIT_MAGIC + OPTION_MAGIC + struct.pack(">H", _FLAGS)

_OPTION = struct.Struct(">8sII")
_REPLY = struct.Struct(">QIII")
_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")


class State(enum.Enum):
    """Where the handshake is."""

    GREETING = "greeting"
    OPTIONS = "options"
    UPGRADING = "upgrading"
    TRANSMISSION = "transmission"
    CLOSED = "closed"


class Session(NamedTuple):
    """What was agreed on for the transmission phase."""

    export: Export
    #: In bytes, as the client was told.
    size: int
    structured: bool
    block_status: bool


class _Malformed(Exception):
    """The option's data cannot be parsed: ERR_INVALID."""


class Handshake:
    """One connection's handshake."""

    def __init__(
        self, exports: Mapping[str, Export], *, tls_required: bool = False
    ) -> None:
        """Offers the exports; the name "" stands for the first."""
        self.state = State.GREETING
        self.output = bytearray(GREETING)
        self.session: Session | None = None
        self._exports = exports
        self._input = bytearray()
        self._no_zeroes = False
        self._structured = False
        self._context_of: str | None = None
        self._options = 0
        self._tls_required = tls_required
        self._secured = False
        self._refusal = b""

    def receive(self, data: bytes | memoryview) -> None:
        """Takes bytes of the client."""
        self._input += data
        while self._step():
            pass
        if self.state is State.UPGRADING and self._input:
            self.state = State.CLOSED

    def secured(self, refusal: str = "") -> None:
        """TLS stands; with a `refusal` every option is answered with it."""
        self.state = State.OPTIONS
        self._secured = True
        self._refusal = refusal.encode()

    @property
    def rest(self) -> bytes:
        """What came behind the handshake: the first requests."""
        return bytes(self._input)

    def _take(self, length: int) -> bytes:
        taken = bytes(self._input[:length])
        del self._input[:length]
        return taken

    def _step(self) -> bool:
        """Handles one message; False when more bytes are needed, or none."""
        if self.state is State.GREETING:
            return self._client_flags()
        if self.state is State.OPTIONS:
            return self._option()
        return False

    def _client_flags(self) -> bool:
        if len(self._input) < _U32.size:
            return False
        (flags,) = _U32.unpack(self._take(_U32.size))
        self._no_zeroes = bool(flags & FLAG_NO_ZEROES)
        self.state = State.CLOSED if flags & ~_FLAGS else State.OPTIONS
        return True

    def _option(self) -> bool:
        if len(self._input) < _OPTION.size:
            return False
        magic, option, length = _OPTION.unpack_from(self._input)
        self._options += 1
        if magic != OPTION_MAGIC or length > MAX_OPTION or self._options > MAX_OPTIONS:
            self.state = State.CLOSED
            return False
        if len(self._input) < _OPTION.size + length:
            self._options -= 1
            return False
        self._take(_OPTION.size)
        self._answer(option, self._take(length))
        return True

    def _answer(self, option: int, data: bytes) -> None:
        steps: dict[int, Callable[[bytes], None]] = {
            Option.EXPORT_NAME: self._export_name,
            Option.ABORT: self._abort,
            Option.LIST: self._list,
            Option.STARTTLS: self._start_tls,
            Option.STRUCTURED_REPLY: self._structured_reply,
            Option.INFO: self._info,
            Option.GO: self._go,
            Option.LIST_META_CONTEXT: self._list_contexts,
            Option.SET_META_CONTEXT: self._set_contexts,
        }
        self._current = option
        if option != Option.ABORT and self._refuses(option):
            return
        step = steps.get(option)
        if step is None:
            self._reply(OptionReply.ERR_UNSUP, b"not supported by this server")
            return
        try:
            step(data)
        except _Malformed as error:
            self._reply(OptionReply.ERR_INVALID, str(error).encode())

    def _refuses(self, option: int) -> bool:
        """Answers what needs TLS first, or a certificate with another role."""
        needs_tls = self._tls_required and not self._secured
        if needs_tls and option != Option.STARTTLS:
            kind, why = OptionReply.ERR_TLS_REQD, b"TLS is mandatory here"
        elif self._refusal:
            kind, why = OptionReply.ERR_POLICY, self._refusal
        else:
            return False
        if option == Option.EXPORT_NAME:
            self.state = State.CLOSED  # the option has no error reply
        else:
            self._reply(kind, why)
        return True

    def _reply(self, kind: OptionReply, data: bytes = b"") -> None:
        self.output += _REPLY.pack(OPTION_REPLY_MAGIC, self._current, kind, len(data))
        self.output += data

    # The options.

    def _find(self, name: str) -> Export | None:
        if name == "":
            return next(iter(self._exports.values()), None)
        return self._exports.get(name)

    def _export_name(self, data: bytes) -> None:
        export = self._find(data.decode(errors="replace"))
        if export is None:
            self.state = State.CLOSED  # the option has no error reply
            return
        self.output += struct.pack(">QH", export.size, self._flags(export))
        if not self._no_zeroes:
            self.output += bytes(124)
        self._begin(export)

    def _abort(self, data: bytes) -> None:
        del data
        self._reply(OptionReply.ACK)
        self.state = State.CLOSED

    def _start_tls(self, data: bytes) -> None:
        if not self._tls_required:
            self._reply(OptionReply.ERR_UNSUP, b"this server has no TLS")
            return
        _require_empty(data)
        if self._secured:
            raise _Malformed("TLS is in use already")
        self._reply(OptionReply.ACK)
        # Whatever was agreed on in the clear may be somebody else's wish.
        self._structured, self._context_of = False, None
        self.state = State.UPGRADING

    def _list(self, data: bytes) -> None:
        _require_empty(data)
        for name in self._exports:
            encoded = name.encode()
            self._reply(OptionReply.SERVER, _U32.pack(len(encoded)) + encoded)
        self._reply(OptionReply.ACK)

    def _structured_reply(self, data: bytes) -> None:
        _require_empty(data)
        self._structured = True
        self._reply(OptionReply.ACK)

    def _info(self, data: bytes) -> None:
        self._describe(data)

    def _go(self, data: bytes) -> None:
        export = self._describe(data)
        if export is not None:
            self._begin(export)

    def _describe(self, data: bytes) -> Export | None:
        name, at = _name(data, 0)
        (count,) = _unpack(_U16, data, at)
        wanted = data[at + 2 :]
        if len(wanted) != 2 * count:
            raise _Malformed("the number of information requests is wrong")
        export = self._find(name)
        if export is None:
            self._reply(OptionReply.ERR_UNKNOWN, b"no such export")
            return None
        asked = {kind for (kind,) in struct.iter_unpack(">H", wanted)}
        for item in self._items(export, asked):
            self._reply(OptionReply.INFO, item)
        self._reply(OptionReply.ACK)
        return export

    def _items(self, export: Export, asked: set[int]) -> Iterable[bytes]:
        flags = self._flags(export)
        yield struct.pack(">HQH", Info.EXPORT, export.size, flags)
        if Info.NAME in asked:
            yield _U16.pack(Info.NAME) + export.name.encode()
        if Info.DESCRIPTION in asked:
            yield _U16.pack(Info.DESCRIPTION) + export.description.encode()
        if Info.BLOCK_SIZE in asked:
            sizes = (MIN_BLOCK, PREFERRED_BLOCK, MAX_PAYLOAD)
            yield struct.pack(">HIII", Info.BLOCK_SIZE, *sizes)

    def _flags(self, export: Export) -> int:
        flags = (
            TransmissionFlag.HAS_FLAGS
            | TransmissionFlag.SEND_FLUSH
            | TransmissionFlag.SEND_FUA
            | TransmissionFlag.SEND_TRIM
            | TransmissionFlag.SEND_WRITE_ZEROES
            | TransmissionFlag.CAN_MULTI_CONN
            | TransmissionFlag.SEND_CACHE
            | TransmissionFlag.SEND_FAST_ZERO
        )
        if export.read_only:
            flags |= TransmissionFlag.READ_ONLY
        if self._structured:
            flags |= TransmissionFlag.SEND_DF
        return int(flags)

    def _begin(self, export: Export) -> None:
        # A context counts only if it was chosen for this very export.
        named = self._find(self._context_of) if self._context_of is not None else None
        chosen = named is not None and named.name == export.name
        self.session = Session(export, export.size, self._structured, chosen)
        self.state = State.TRANSMISSION

    def _list_contexts(self, data: bytes) -> None:
        _, queries = self._queries(data)
        if queries is None:
            return
        if not queries or BASE_ALLOCATION in queries or b"base:" in queries:
            self._reply(OptionReply.META_CONTEXT, _U32.pack(0) + BASE_ALLOCATION)
        self._reply(OptionReply.ACK)

    def _set_contexts(self, data: bytes) -> None:
        self._context_of = None  # only the last SET counts, a failed one as well
        if not self._structured:
            raise _Malformed("negotiate structured replies first")
        name, queries = self._queries(data)
        if queries is None:
            return
        if BASE_ALLOCATION in queries:
            self._context_of = name
            context = _U32.pack(BASE_ALLOCATION_ID) + BASE_ALLOCATION
            self._reply(OptionReply.META_CONTEXT, context)
        self._reply(OptionReply.ACK)

    def _queries(self, data: bytes) -> tuple[str, list[bytes] | None]:
        """Parses name and queries; None when the export is missing (answered)."""
        name, at = _name(data, 0)
        (count,) = _unpack(_U32, data, at)
        at += 4
        queries = []
        for _ in range(count):
            (length,) = _unpack(_U32, data, at)
            query = data[at + 4 : at + 4 + length]
            if len(query) != length or length > MAX_NAME:
                raise _Malformed("a query is cut or too long")
            queries.append(query)
            at += 4 + length
        if at != len(data):
            raise _Malformed("bytes follow the last query")
        if self._find(name) is None:
            self._reply(OptionReply.ERR_UNKNOWN, b"no such export")
            return name, None
        return name, queries


def _require_empty(data: bytes) -> None:
    if data:
        raise _Malformed("this option takes no data")


def _unpack(form: struct.Struct, data: bytes, at: int) -> tuple[int]:
    if len(data) < at + form.size:
        raise _Malformed("the option's data is cut")
    (number,) = form.unpack_from(data, at)
    return (int(number),)


def _name(data: bytes, at: int) -> tuple[str, int]:
    """Reads a length and a name; returns it and what follows."""
    (length,) = _unpack(_U32, data, at)
    end = at + 4 + length
    if length > MAX_NAME or end > len(data):
        raise _Malformed("the export's name is cut or too long")
    return data[at + 4 : end].decode(errors="replace"), end
