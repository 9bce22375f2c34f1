"""How soon a failed-over disk is writable, and how fast the rest is flushed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests import tools
from tests.bench.load import fio
from tests.bench.load.loads import Load
from tests.bench.peers import pair
from tests.bench.peers.images import digest, fill
from tests.bench.peers.peer import timed_ms
from tests.bench.report.findings import Finding, Found
from tests.nbd_client import NbdClient

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bench.measure.run import Run

_MIB = 1 << 20
#: Bytes are read and written: no clones, no holes, no copy within the kernel.
_CP = ("cp", "--reflink=never", "--sparse=never")


def measure(run: Run) -> Found:
    """Overwrites all of a pair's disk, then fails over."""
    folder, size = run.folder, run.size
    base = folder / "base.img"
    fill(base, size)
    with pair.running(folder, base) as under_test:
        stack = under_test.stack
        with base.open("rb") as file:
            first = file.read(4096)
        stack.pause()
        stack.checkpoint()
        fio.write_once(under_test.uri, Load("all", "write", _MIB, 8), size, size)
        pair.wait_applied(stack)
        buffered = stack.secondary_status().buffer_bytes
        began = time.perf_counter()
        stack.failover()
        call_ms = timed_ms(began)
        with NbdClient(stack.nbd["secondary"], "disk0") as client:
            client.write(0, first)
        writable_ms = timed_ms(began)
        stack.wait_flushed()
        flush_seconds = time.perf_counter() - began
        image = stack.image("secondary")
        assert digest(image) == digest(base), "not the checkpoint"
    stack.image("primary").unlink()  # what is copied to next takes its pages
    over, new, in_place = _copies(base, image, folder / "new.img")
    mib = size / _MIB
    found = [
        Finding("buffered", buffered / _MIB, "MiB"),
        Finding("failover call", call_ms, "ms"),
        Finding("until a write was answered", writable_ms, "ms", 100),
        Finding("flush, over the secondary's image", mib / flush_seconds, "MiB/s"),
        Finding("cp over that image (it truncates first)", mib / over, "MiB/s"),
        Finding("cp to a new file", mib / new, "MiB/s"),
        Finding("dd over that image, in place", mib / in_place, "MiB/s"),
        Finding(
            "flush / the faster cp", min(over, new) / flush_seconds, "x", 0.7, True
        ),
        Finding("flush / dd in place", in_place / flush_seconds, "x"),
    ]
    return Found(found)


def _copies(source: Path, existing: Path, new: Path) -> tuple[float, float, float]:
    """Seconds of `cp` over a file, of `cp` to a new one, of `dd` over a file.

    The file has the source's size. The best of two: the first may meet memory that
    the machine has not used before.
    """
    taken = []
    for _ in range(2):
        new.unlink(missing_ok=True)
        in_place = (f"if={source}", f"of={existing}", "bs=4M", "conv=notrunc")
        taken.append(
            (
                _seconds(*_CP, str(source), str(existing)),
                _seconds(*_CP, str(source), str(new)),
                _seconds("dd", "status=none", *in_place),
            )
        )
    over, to_new, by_dd = (min(each) for each in zip(*taken, strict=True))
    return over, to_new, by_dd


def _seconds(*command: str) -> float:
    began = time.perf_counter()
    tools.run(*command, timeout=300)
    return time.perf_counter() - began
