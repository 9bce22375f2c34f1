"""The write client keeps its depth and its schedule."""

from __future__ import annotations

import socket
import struct
from time import monotonic_ns
from typing import TYPE_CHECKING

import pytest

from tests.bench.load.loads import Load
from tests.bench.load.write_load import _Writer, completions
from tests.bench.peers import unreplicated
from tests.bench.peers.images import fill
from tests.tools import require_tool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MIB = 1 << 20
_FOUR = Load("four at once", "randwrite", 512, 4)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def _reply(slot: int, error: int = 0) -> bytes:
    return struct.pack(">IIQ", 0x67446698, error, slot)


def test_no_more_writes_are_under_way_than_there_are_slots(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = ends
    writer = _Writer(ours, _FOUR, _MIB)
    writer.send(100)
    assert (writer.sent, writer.under_way) == (4, 4)
    theirs.sendall(_reply(2) + _reply(0) + b"\x67")  # and a part of a third
    before = monotonic_ns()
    now = writer.receive()
    assert list(writer.completions) == [now, now]
    assert now >= before
    writer.send(1)
    assert (writer.sent, writer.under_way) == (5, 3)


def test_with_a_free_slot_it_waits_no_longer_than_until_the_next_write_is_due(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    writer = _Writer(ends[0], _FOUR, _MIB)
    writer.send(1)
    assert writer.receive(monotonic_ns()) > 0
    assert not writer.completions


def test_a_write_that_failed_is_no_completion(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = ends
    writer = _Writer(ours, _FOUR, _MIB)
    writer.send(1)
    theirs.sendall(_reply(0, error=5))
    with pytest.raises(AssertionError):
        writer.receive()


@pytest.mark.integration
@pytest.mark.nbd
def test_a_paced_load_writes_no_faster_than_its_rate(tmp_path: Path) -> None:
    require_tool("nbdkit")
    base = tmp_path / "base.img"
    fill(base, _MIB)
    with unreplicated.nbdkit(tmp_path, base) as server:
        paced = completions(server.uri, _FOUR, 0.3, _MIB, 500)
        full = completions(server.uri, _FOUR, 0.3, _MIB)
    assert 0 < len(paced) <= 151
    assert len(full) > len(paced)
    assert list(paced) == sorted(paced)
