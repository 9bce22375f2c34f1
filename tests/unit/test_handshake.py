"""The NBD handshake: every option, every refusal, any split of the bytes."""

from __future__ import annotations

import itertools
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blkcolo.nbd.constants import Command, CommandFlag, NbdError
from blkcolo.nbd.handshake import GREETING, Handshake, State
from blkcolo.nbd.requests import ProtocolViolationError, Request, parse, refusal

_OPTION_MAGIC = b"IHAVEOPT"
_REPLY = struct.Struct(">QIII")


class Disk:
    """Enough of an export to negotiate."""

    read_only = False
    size = 1052672 + 512
    description = "a disk"

    def __init__(self, name: str) -> None:
        self.name = name


EXPORTS: Any = {"a": Disk("a"), "b": Disk("b")}


def option(number: int, data: bytes = b"") -> bytes:
    return _OPTION_MAGIC + struct.pack(">II", number, len(data)) + data


def name(text: str) -> bytes:
    return struct.pack(">I", len(text)) + text.encode()


def go(export: str, *infos: int) -> bytes:
    count = struct.pack(">H", len(infos))
    return name(export) + count + b"".join(struct.pack(">H", i) for i in infos)


def contexts(export: str, *queries: bytes) -> bytes:
    parts = [struct.pack(">I", len(q)) + q for q in queries]
    return name(export) + struct.pack(">I", len(queries)) + b"".join(parts)


def talk(*messages: bytes, flags: int = 3) -> tuple[Handshake, list[tuple[int, bytes]]]:
    """Runs a handshake; returns it and its replies as (type, data)."""
    handshake = Handshake(EXPORTS)
    handshake.receive(struct.pack(">I", flags) + b"".join(messages))
    output = bytes(handshake.output)
    assert output.startswith(GREETING)
    return handshake, replies(output[len(GREETING) :])


def replies(output: bytes) -> list[tuple[int, bytes]]:
    found = []
    while output:
        magic, _, kind, length = _REPLY.unpack_from(output)
        assert magic == 0x3E889045565A9
        found.append((kind & ~(1 << 31), output[20 : 20 + length]))
        output = output[20 + length :]
    return found


ACK, SERVER, INFO, META = 1, 2, 3, 4
UNSUP, INVALID, UNKNOWN = 1, 3, 6


def test_unknown_client_flags_close() -> None:
    assert talk(flags=4)[0].state is State.CLOSED


def test_list_names_all_exports() -> None:
    _, answers = talk(option(3))
    assert answers == [(SERVER, name("a")), (SERVER, name("b")), (ACK, b"")]


def test_abort_is_acknowledged_and_closes() -> None:
    handshake, answers = talk(option(2))
    assert answers == [(ACK, b"")]
    assert handshake.state is State.CLOSED


@pytest.mark.parametrize("number", [4, 5, 11, 999])
def test_unsupported_options_are_refused_and_parsing_goes_on(number: int) -> None:
    handshake, answers = talk(option(number, b"xyz"), option(3))
    assert answers[0][0] == UNSUP
    assert answers[-1] == (ACK, b"")
    assert handshake.state is State.OPTIONS


@pytest.mark.parametrize(
    "bad",
    [
        option(3, b"x"),
        option(8, b"x"),
        option(7, b""),
        option(7, struct.pack(">I", 5000) + bytes(5002)),
        option(7, name("a") + struct.pack(">H", 3)),
        option(6, name("a") + struct.pack(">HHH", 1, 3, 3)),
        option(10, contexts("a", b"base:allocation")),  # before structured replies
        option(9, name("a") + struct.pack(">II", 1, 9)),
        option(9, contexts("a") + b"x"),
    ],
)
def test_malformed_options_are_invalid_and_the_session_stays(bad: bytes) -> None:
    handshake, answers = talk(bad, option(3))
    assert answers[0][0] == INVALID
    assert answers[-1] == (ACK, b"")
    assert handshake.state is State.OPTIONS


def test_go_describes_what_was_asked_and_begins() -> None:
    handshake, answers = talk(option(8), option(7, go("b", 1, 2, 3)))
    size, flags = struct.unpack(">2xQH", answers[1][1])
    assert size == Disk.size
    assert flags & 0b11 == 1
    assert answers[2:] == [
        (INFO, struct.pack(">H", 1) + b"b"),
        (INFO, struct.pack(">H", 2) + b"a disk"),
        (INFO, struct.pack(">HIII", 3, 512, 4096, 32 << 20)),
        (ACK, b""),
    ]
    assert handshake.state is State.TRANSMISSION
    assert handshake.session is not None
    assert handshake.session.export is EXPORTS["b"]


def test_missing_export_is_unknown_and_info_does_not_begin() -> None:
    handshake, answers = talk(option(7, go("c")), option(6, go("a")))
    assert answers[0][0] == UNKNOWN
    assert answers[-1] == (ACK, b"")
    assert handshake.state is State.OPTIONS


def test_export_name_pads_only_without_no_zeroes_and_drops_a_missing_one() -> None:
    for flags, padding in ((1, 124), (3, 0)):
        handshake = Handshake(EXPORTS)
        handshake.receive(struct.pack(">I", flags) + option(1, b""))
        assert len(handshake.output) == len(GREETING) + 10 + padding
        assert handshake.session is not None
        assert handshake.session.export is EXPORTS["a"]
    assert talk(option(1, b"c"))[0].state is State.CLOSED


def test_only_the_last_context_for_the_same_export_counts() -> None:
    base = b"base:allocation"
    chosen = option(10, contexts("a", b"x:y", base))
    for messages, expected in (
        ([chosen], True),
        ([chosen, option(10, contexts("a"))], False),
        ([chosen, option(10, contexts("b", base))], False),
        ([chosen, option(10, contexts("c", base))], False),
        ([option(10, contexts("a", b"base:"))], False),
    ):
        handshake, _ = talk(option(8), *messages, option(7, go("a")))
        assert handshake.session is not None
        assert handshake.session.block_status is expected


class Fresh(dict[str, Disk]):
    """Exports that are made anew at each look, as those of kept checkpoints."""

    def get(self, key: str, default: Any = None) -> Any:
        return Disk(key) if key in self else default


def test_context_counts_for_an_export_that_is_made_anew_at_each_look() -> None:
    exports: Any = Fresh(a=Disk("a"))
    handshake = Handshake(exports)
    options = (
        option(8),
        option(10, contexts("a", b"base:allocation")),
        option(7, go("a")),
    )
    handshake.receive(struct.pack(">I", 3) + b"".join(options))
    assert handshake.session is not None
    assert handshake.session.block_status


def test_list_contexts_takes_a_wildcard() -> None:
    for queries in ((), (b"base:",), (b"base:allocation",)):
        _, answers = talk(option(9, contexts("a", *queries)))
        assert answers == [(META, bytes(4) + b"base:allocation"), (ACK, b"")]
    assert talk(option(9, contexts("a", b"x:")))[1] == [(ACK, b"")]


TLS_REQD, POLICY = 5, 2


def tls_talk(*messages: bytes) -> tuple[Handshake, list[tuple[int, bytes]]]:
    """As `talk`, where TLS is mandatory."""
    handshake = Handshake(EXPORTS, tls_required=True)
    handshake.receive(struct.pack(">I", 3) + b"".join(messages))
    return handshake, replies(bytes(handshake.output)[len(GREETING) :])


@pytest.mark.parametrize("number", [3, 4, 6, 7, 8, 9, 10, 999])
def test_where_tls_is_mandatory_nothing_is_served_before_it(number: int) -> None:
    handshake, answers = tls_talk(option(number, b"anything"), option(3))
    assert [kind for kind, _ in answers] == [TLS_REQD, TLS_REQD]
    assert handshake.state is State.OPTIONS


def test_export_name_before_tls_closes_and_abort_is_acknowledged() -> None:
    assert tls_talk(option(1, b"a"))[0].state is State.CLOSED
    handshake, answers = tls_talk(option(2))
    assert answers == [(ACK, b"")]
    assert handshake.state is State.CLOSED


def test_starttls_with_data_is_invalid_and_without_upgrades() -> None:
    handshake, answers = tls_talk(option(5, b"x"), option(5))
    assert [kind for kind, _ in answers] == [INVALID, ACK]
    assert handshake.state is State.UPGRADING


def test_what_is_slipped_in_behind_starttls_closes() -> None:
    handshake, answers = tls_talk(option(5), option(3))
    assert answers == [(ACK, b"")]
    assert handshake.state is State.CLOSED
    later, _ = tls_talk(option(5))
    later.receive(b"I")
    assert later.state is State.CLOSED


def test_behind_tls_everything_is_served_and_a_second_starttls_is_invalid() -> None:
    handshake, _ = tls_talk(option(5))
    handshake.output.clear()
    handshake.secured()
    handshake.receive(option(5) + option(10, contexts("a", b"base:allocation")))
    # Structured replies were not negotiated behind TLS: contexts are refused.
    assert [kind for kind, _ in replies(bytes(handshake.output))] == [INVALID, INVALID]
    handshake.receive(option(7, go("a")))
    assert handshake.state is State.TRANSMISSION
    assert handshake.session is not None
    assert not handshake.session.structured


def test_a_certificate_of_another_role_gets_the_policy_for_an_answer() -> None:
    handshake, _ = tls_talk(option(5))
    handshake.output.clear()
    handshake.secured("wrong role")
    handshake.receive(option(7, go("a")) + option(3))
    assert replies(bytes(handshake.output)) == [(POLICY, b"wrong role")] * 2
    handshake.receive(option(1, b"a"))
    assert handshake.state is State.CLOSED


def test_oversize_option_closes_without_waiting_for_its_data() -> None:
    message = _OPTION_MAGIC + struct.pack(">II", 3, 1 << 30)
    assert talk(message)[0].state is State.CLOSED


def test_endless_options_are_bounded() -> None:
    handshake, answers = talk(*[option(4)] * 5000)
    assert handshake.state is State.CLOSED
    assert len(answers) <= 4096


@given(
    st.one_of(
        st.binary(max_size=300),
        st.lists(st.sampled_from([option(3), option(5), option(8), b"I"])).map(
            lambda options: struct.pack(">I", 3) + b"".join(options)
        ),
    ),
    st.lists(st.integers(0, 300), max_size=5),
    st.booleans(),
)
def test_any_bytes_in_any_split_give_the_same_answers(
    data: bytes, cuts: list[int], tls: bool
) -> None:
    whole = Handshake(EXPORTS, tls_required=tls)
    split = Handshake(EXPORTS, tls_required=tls)
    whole.receive(data)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for start, end in itertools.pairwise(edges):
        split.receive(data[start:end])
    assert (whole.output, whole.state) == (split.output, split.state)


KNOWN = {
    "size": Disk.size,
    "read_only": False,
    "structured": True,
    "block_status": True,
}


def check(
    kind: int, offset: int, length: int, flags: int = 0, **changes: Any
) -> int | None:
    facts: Any = {**KNOWN, **changes}
    return refusal(Request(flags, kind, 1, offset, length), **facts)


def test_extents_beyond_the_end_get_the_error_of_their_command() -> None:
    beyond = Disk.size - 511
    for kind in (Command.READ, Command.TRIM, Command.CACHE, Command.BLOCK_STATUS):
        assert check(kind, beyond, 512) == NbdError.EINVAL
    for kind in (Command.WRITE, Command.WRITE_ZEROES):
        assert check(kind, beyond, 512) == NbdError.ENOSPC
        assert check(kind, 2**64 - 1, 512) == NbdError.ENOSPC
        assert check(kind, Disk.size - 512, 512) is None


def test_read_only_refuses_every_write_with_eperm() -> None:
    for kind in (Command.WRITE, Command.TRIM, Command.WRITE_ZEROES):
        assert check(kind, 0, 512, read_only=True) == NbdError.EPERM
    assert check(Command.READ, 0, 512, read_only=True) is None


@given(st.sampled_from(list(Command)), st.integers(0, 0xFFFF))
def test_flags_are_legal_exactly_where_the_specification_defines_them(
    kind: Command, flags: int
) -> None:
    legal = {
        Command.READ: CommandFlag.DF,
        Command.WRITE_ZEROES: CommandFlag.NO_HOLE | CommandFlag.FAST_ZERO,
        Command.BLOCK_STATUS: CommandFlag.REQ_ONE,
    }.get(kind, 0) | CommandFlag.FUA
    expected = NbdError.EINVAL if flags & ~int(legal) else None
    assert check(kind, 0, 512, flags) == expected


def test_wrong_magic_and_oversize_payload_end_the_connection() -> None:
    good = struct.pack(">IHHQQI", 0x25609513, 0, 1, 5, 0, 32 << 20)
    assert parse(good, 0).length == 32 << 20
    for bad in (
        struct.pack(">IHHQQI", 0x25609514, 0, 0, 5, 0, 1),
        struct.pack(">IHHQQI", 0x25609513, 0, 1, 5, 0, (32 << 20) + 1),
    ):
        with pytest.raises(ProtocolViolationError):
            parse(bad, 0)
