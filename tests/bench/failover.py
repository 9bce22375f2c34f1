"""How soon a failed-over disk is writable, and how fast the rest is flushed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.bench import fio, pair
from tests.bench.compare import fill
from tests.bench.findings import Finding
from tests.bench.loads import Load
from tests.bench.peer import digest, timed_ms
from tests.nbd_client import NbdClient
from tests.stack import wait_until

if TYPE_CHECKING:
    from pathlib import Path

_MIB = 1 << 20


def measure(folder: Path, size: int) -> list[Finding]:
    """Overwrites all of a pair's disk of `size` bytes, then fails over."""
    base = folder / "base.img"
    fill(base, size)
    with pair.running(folder, base) as under_test:
        stack = under_test.stack
        with base.open("rb") as file:
            first = file.read(4096)
        stack.pause()
        stack.checkpoint()
        fio.write_once(under_test.uri, Load("all", "write", _MIB, 8), size, size)
        wait_until(lambda: stack.primary_status().in_flight_bytes == 0, "applied", 300)
        buffered = stack.secondary_status().buffer_bytes
        began = time.perf_counter()
        stack.failover()
        call_ms = timed_ms(began)
        with NbdClient(stack.nbd["secondary"], "disk0") as client:
            client.write(0, first)
        writable_ms = timed_ms(began)
        stack.wait_flushed()
        flush_seconds = time.perf_counter() - began
        assert digest(stack.image("secondary")) == digest(base), "not the checkpoint"
        began = time.perf_counter()
        pair.copy(base, stack.image("primary"))
        copy_seconds = time.perf_counter() - began
    return [
        Finding("buffered", buffered / _MIB, "MiB"),
        Finding("failover call", call_ms, "ms"),
        Finding("until a write was answered", writable_ms, "ms", 100),
        Finding("flush", size / _MIB / flush_seconds, "MiB/s"),
        Finding("cp over a file of that size", size / _MIB / copy_seconds, "MiB/s"),
        Finding("flush / cp", copy_seconds / flush_seconds, "x", 0.7, at_least=True),
    ]
