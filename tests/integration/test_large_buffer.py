"""A large Disk Buffer: failover at once, memory within bounds, a start that says so.

CI runs a smaller scale; `make large` runs the one that is promised.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from blkcolo.v1 import secondary_pb2
from tests.forwarder import Forwarder, stop
from tests.nbd_client import NbdClient
from tests.stack import MIB, Stack

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.integration

LARGE = os.environ.get("BLKCOLO_LARGE") == "1"
GIB = 1 << 30
BLOCK = 4096
#: From the call to the first write that succeeds; the promise.
WRITABLE_SECONDS = 0.100


@pytest.fixture
def roomy() -> Iterator[Path]:
    """A folder on disk; removed at once, since it is large."""
    folder = Path(tempfile.mkdtemp(prefix="blkcolo-large-"))
    yield folder
    shutil.rmtree(folder)


def image_of(path: Path, size: int) -> None:
    """An image without a hole and without a block of zeros."""
    piece = b"old!" * (MIB // 4)
    with path.open("wb") as image:
        for _ in range(size // MIB):
            image.write(piece)


def peak_memory(stack: Stack) -> int:
    """The most that the secondary ever had, in bytes, without its program files.

    The pages of Python's and gRPC's libraries are those of their files: shared with
    other processes, and dropped by the system when it needs the room.
    """
    pid = stack.processes["secondary"].pid
    status = Path(f"/proc/{pid}/status").read_text()
    peak, files = (
        int(found[1]) << 10
        for name in ("VmHWM", "RssFile")
        if (found := re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE))
    )
    return peak - files


def round_trip(stack: Stack) -> float:
    """A call, a connection and a read: what the machine takes for that as it is."""
    began = time.monotonic()
    stack.secondary_status()
    with NbdClient(stack.nbd["secondary"], "disk0") as reader:
        reader.read(0, 512)
    return time.monotonic() - began


def fill(forwarder: Forwarder, undo: int, size: int) -> None:
    """Overwrites `undo` bytes, block by block, none beside one of the same batch."""
    blocks, stride = undo // BLOCK, size // BLOCK // 256
    data = b"new?" * (BLOCK // 4)
    for start in range(max(1, blocks // 256)):
        forwarder.write(
            [(start + stride * n) * BLOCK for n in range(min(256, blocks))], data
        )
    forwarder.applied()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("undo", [BLOCK, 4 * GIB if LARGE else 256 * MIB])
def test_export_is_writable_within_100_ms_of_the_stop(roomy: Path, undo: int) -> None:
    size = max(undo, 64 * MIB)
    stack = Stack(roomy, sizes=(size,))
    image_of(stack.image("secondary"), size)
    try:
        stack.start("secondary")
        with Forwarder(stack) as forwarder:
            base = forwarder.checkpoint()
            if undo == BLOCK:
                forwarder.write([0], b"n" * 1024)
                forwarder.applied()
            else:
                fill(forwarder, undo, size)
        assert stack.secondary_status().buffer_bytes >= undo
        busy = max(round_trip(stack) for _ in range(3))
        began = time.monotonic()
        answer = stop(stack, secondary_pb2.STOP_MODE_FAILOVER)
        with NbdClient(stack.nbd["secondary"], "disk0") as vm:
            vm.write(MIB, b"mine" * 128)
            seconds = time.monotonic() - began
            slowest = 0.0
            while stack.secondary_status().flush_remaining_bytes:
                asked = time.monotonic()
                assert vm.read(MIB, 512) == b"mine" * 128
                slowest = max(slowest, time.monotonic() - asked)
        assert answer.committed_epoch == base
        stack.wait_flushed()
        print(  # noqa: T201 - a figure for people
            f"{undo >> 10} KiB of undo: writable after {seconds * 1000:.0f} ms"
            f" (an idle round trip: {busy * 1000:.0f} ms),"
            f" slowest read during the flush {slowest * 1000:.0f} ms"
        )
        assert seconds < WRITABLE_SECONDS + busy
        expected = b"old!" * (MIB // 4)
        with stack.image("secondary").open("rb") as image:
            for at in range(0, size, MIB):
                piece = image.read(MIB)
                mine = b"mine" * 128 + expected[512:]
                assert piece == (mine if at == MIB else expected), at
    finally:
        stack.close()


@pytest.mark.timeout(1800)
def test_memory_stays_within_64_mib_and_half_a_percent_of_the_undo(
    roomy: Path,
) -> None:
    undo = 8 * GIB if LARGE else GIB // 2
    stack = Stack(roomy, sizes=(undo,))
    image_of(stack.image("secondary"), undo)
    try:
        stack.start("secondary")
        at_start = peak_memory(stack)
        with Forwarder(stack) as forwarder:
            forwarder.checkpoint()
            fill(forwarder, undo, undo)
        held = stack.secondary_status().buffer_bytes
        assert held >= undo
        filled = peak_memory(stack)
        stack.kill("secondary")
        began = time.monotonic()
        stack.start("secondary", seconds=300)
        seconds = time.monotonic() - began
        restarted = peak_memory(stack)
        assert stack.secondary_status().buffer_bytes == held
        with NbdClient(stack.nbd["secondary"], "disk0") as reader:
            assert reader.read(undo // 2 - 512, 1024) == b"old!" * 256
        print(  # noqa: T201 - figures for people
            f"{held / GIB:.1f} GiB of undo: at start {at_start >> 20} MiB, filled"
            f" {filled >> 20} MiB, restarted {restarted >> 20} MiB in {seconds:.1f} s"
        )
        if LARGE:
            assert max(filled, restarted) <= 64 * MIB + held // 200
        # At any scale: what does not depend on the undo, and what does.
        assert max(filled, restarted) - at_start <= 32 * MIB + held // 200
    finally:
        stack.close()
