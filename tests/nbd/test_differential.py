"""The same transcript to our server, nbdkit and qemu-nbd: one behaviour.

Where the two peers agree, so must we. Where they differ, the specification decides
(NetworkBlockDevice/nbd, doc/proto.md), and the case here says what and why.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.nbd.raw_client import RawClient, contexts, named, wanted
from tests.stack import ODD_SIZE, Stack, wait_until
from tests.tools import require_tool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.nbd]

EINVAL, ENOSPC = 22, 28
READ, WRITE, FLUSH, TRIM, CACHE, WRITE_ZEROES, BLOCK_STATUS = 0, 1, 3, 4, 5, 6, 7
ANY_FLAG = (0, 1, 2, 4, 8, 16, 32, 1 << 14)
#: Of an extent: in the middle, up to the end, beyond it, and where 64 bits end.
EXTENTS = (
    *((3, 700), (ODD_SIZE - 512, 512), (ODD_SIZE - 512, 1024), (ODD_SIZE, 1)),
    *((ODD_SIZE + 4096, 512), (1 << 63, 512), ((1 << 64) - 512, 1024)),
)

Request = tuple[int, int, int, int]
REQUESTS: list[Request] = [
    *((kind, flags, 0, 4096) for kind in (0, 1, 4, 5, 6, 7) for flags in ANY_FLAG),
    *((kind, 0, *extent) for kind in (0, 1, 4, 5, 6, 7) for extent in EXTENTS),
    *((kind, 0, 0, 0) for kind in (0, 1, 4, 5, 6, 7)),
    *((kind, 0, 0, (1 << 32) - 1) for kind in (0, 4, 5, 6, 7)),
    *((FLUSH, flags, 0, 0) for flags in ANY_FLAG),
    *((kind, 0, 0, 512) for kind in (8, 9, 999)),
]


def by_specification(request: Request) -> int:
    """The error number where the peers differ."""
    kind, _, _, length = request
    if length == 0:
        return EINVAL  # "undefined"; nbdkit's choice, it shows the client's mistake
    if kind in (WRITE, WRITE_ZEROES):
        return ENOSPC  # "SHOULD ... if the request is beyond the end"; qemu: EINVAL
    assert kind == FLUSH, request
    return 0


@pytest.fixture(scope="module")
def servers(
    primary: Stack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[int | Path]]:
    """Ours, nbdkit's and qemu-nbd's, each with disk0 of the same size."""
    folder = tmp_path_factory.mktemp("peers")
    nbdkit, qemu = folder / "nbdkit", folder / "qemu"
    image = folder / "image"
    image.write_bytes(bytes(ODD_SIZE))
    commands = [
        ["nbdkit", "-f", "-U", nbdkit, "memory", f"size={ODD_SIZE}"],
        [
            *("qemu-nbd", "-k", qemu, "-f", "raw", "-x", "disk0", "-t"),
            *("-e", "4", "--discard=unmap", image),
        ],
    ]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    peers = [
        subprocess.Popen([require_tool(str(command[0])), *command[1:]], **quiet)  # type: ignore[call-overload] # one dict for both
        for command in commands
    ]
    try:
        wait_until(lambda: nbdkit.exists() and qemu.exists(), "the peers listen")
        yield [primary.nbd["primary"], nbdkit, qemu]
    finally:
        for peer in peers:
            peer.terminate()
            peer.wait(10)


def errors(server: int | Path, *, structured: bool) -> list[int | str]:
    """The error number of every request, each on its own; then one that is fine."""
    found: list[int | str] = []
    for kind, flags, offset, length in REQUESTS:
        with RawClient(server).go("disk0", structured=structured) as client:
            payload = bytes(length) if kind == WRITE else b""
            try:
                found.append(client.request(kind, flags, offset, length, payload).error)
                assert client.request(READ, 0, 0, 512).error == 0
            except ConnectionError:
                found.append("dropped")
    return found


@pytest.mark.parametrize("structured", [True, False])
def test_every_request_gets_the_error_that_the_peers_give(
    servers: list[int | Path], structured: bool
) -> None:
    ours, nbdkit, qemu = (errors(each, structured=structured) for each in servers)
    for request, got, first, second in zip(REQUESTS, ours, nbdkit, qemu, strict=True):
        expected = first if first == second else by_specification(request)
        assert got == expected, (request, got, first, second)


BASE = "base:allocation"
ACK, UNKNOWN = 1, (1 << 31) + 6
Options = list[tuple[int, bytes]]
#: The options of a case; and what is right where the peers differ.
HANDSHAKES: dict[str, tuple[Options, list[list[int]] | None]] = {
    "list": ([(3, b"")], None),
    "list with data": ([(3, b"x")], None),
    "abort": ([(2, b"")], None),
    "peek": ([(4, b"")], None),
    "extended headers": ([(11, b"")], None),
    "unknown": ([(999, b"abc"), (3, b"")], None),
    "structured with data": ([(8, b"x")], None),
    # nbdkit lets it pass, qemu does not; nothing forbids it.
    "structured twice": ([(8, b""), (8, b"")], [[ACK], [ACK]]),
    "info without name": ([(6, b"")], None),
    "info cut": ([(6, named("disk0") + b"\0\1")], None),
    "info and more": ([(6, wanted("disk0") + b"\0")], None),
    "info of a long name": ([(6, wanted("x" * 4097))], None),
    "info of a name that lies": ([(6, b"\xff\xff\xff\xffx\0\0")], None),
    # nbdkit has one export of any name.
    "info of a missing export": ([(6, wanted("no"))], [[UNKNOWN]]),
    "context before structured": ([(10, contexts("disk0", BASE))], None),
    "list before structured": ([(9, contexts("disk0", BASE))], None),
    "context": ([(8, b""), (10, contexts("disk0", BASE))], None),
    "no context": ([(8, b""), (10, contexts("disk0"))], None),
    "wildcard context": ([(8, b""), (10, contexts("disk0", "base:"))], None),
    "unknown context": ([(8, b""), (10, contexts("disk0", "x:y"))], None),
    "list contexts": ([(8, b""), (9, contexts("disk0"))], None),
    "list by wildcard": ([(8, b""), (9, contexts("disk0", "base:"))], None),
    "list unknown": ([(8, b""), (9, contexts("disk0", "x:y"))], None),
    "context cut": ([(8, b""), (10, contexts("disk0", BASE)[:-1])], None),
    "too few queries": ([(8, b""), (10, named("disk0") + b"\0\0\3\xe8")], None),
}


def replies(server: int | Path, options: Options) -> list[list[int]]:
    """The types of the replies to each option, each type once."""
    with RawClient(server) as client:
        return [
            list(dict.fromkeys(kind for kind, _ in client.option(*each)))
            for each in options
        ]


@pytest.mark.parametrize("name", HANDSHAKES)
def test_every_option_gets_the_replies_that_the_peers_give(
    servers: list[int | Path], name: str
) -> None:
    options, decided = HANDSHAKES[name]
    ours, nbdkit, qemu = (replies(server, options) for server in servers)
    if nbdkit == qemu:
        assert decided is None, "the peers agree: nothing is to be decided"
        assert ours == nbdkit
    else:
        assert ours == decided, (ours, nbdkit, qemu)
