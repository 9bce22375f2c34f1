"""What a VM keeps of its speed during a first copy.

The VM writes without a secondary, then while everything is copied, then while it
replicates. Where the link is slower than the disk, a protected VM has the link's speed.
"""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from blkcolo.v1 import types_pb2
from tests.bench.report.findings import Found, Grid
from tests.nbd_client import NbdClient
from tests.stack import MIB, PROTECTED, Stack, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bench.measure.run import Run

_RESYNCING = types_pb2.FORWARD_STATE_RESYNCING
_ASK_SECONDS = 0.05
_AT_ONCE = 16


class BlockLoad(NamedTuple):
    """A VM that writes blocks of `length` bytes, one after the other."""

    name: str
    length: int


class Speeds(NamedTuple):
    """Bytes a second; how much was copied, and in how many seconds."""

    alone: float
    copying: float
    protected: float
    copied: int
    took: float


_LOADS = (
    BlockLoad("4 KiB random writes", 4096),
    BlockLoad("256 KiB random writes", 256 << 10),
)


def measure(run: Run) -> Found:
    """A volume half of which is data and half holes."""
    grid = Grid("MiB a second that the VM writes", "writes", {})
    for load in _LOADS:
        run.say(load.name)
        with tempfile.TemporaryDirectory(dir=run.folder) as scratch:
            found = _speeds(Path(scratch), load, run.size, run.seconds)
        grid.cells[load.name] = {
            "alone": found.alone / MIB,
            "during the copy": found.copying / MIB,
            "protected": found.protected / MIB,
            "during, % of alone": 100 * found.copying / found.alone,
            "during, % of protected": 100 * found.copying / found.protected,
            "MiB copied": found.copied / MIB,
            "copied in s": found.took,
        }
    return Found(grids=[grid])


def _speeds(folder: Path, load: BlockLoad, size: int, seconds: float) -> Speeds:
    """One load from before the first copy to behind it."""
    stack = Stack(folder, sizes=(size,))
    with stack.image("primary").open("wb") as image:
        image.truncate(size)
        for at in range(0, size, 2 * MIB):
            image.seek(at)
            image.write(random.Random(at).randbytes(MIB))  # noqa: S311 - content
    try:
        stack.start("secondary", "primary")
        alone, _ = _written(stack, load, lambda took: took < seconds)
        stack.start("coordinator")
        wait_until(lambda: stack.primary_status().state == _RESYNCING, "it copies")
        asked = _Asked(stack)
        copying, took = _written(stack, load, lambda _: asked.copies())
        stack.wait_state(PROTECTED)
        protected, _ = _written(stack, load, lambda took: took < seconds)
        copied = stack.primary_status().resent_bytes
    finally:
        stack.close()
    return Speeds(alone, copying, protected, copied, took)


def _written(
    stack: Stack, load: BlockLoad, going_on: Callable[[float], bool]
) -> tuple[float, float]:
    """Bytes a second as long as it goes on, and how many seconds that was."""
    rng = random.Random(load.length)  # noqa: S311 - offsets
    data = rng.randbytes(load.length)
    blocks = stack.sizes[0] // load.length
    began, written = time.monotonic(), 0
    with NbdClient(stack.nbd["primary"], "disk0") as vm:
        while going_on(time.monotonic() - began):
            for _ in range(_AT_ONCE):
                vm.write(rng.randrange(blocks) * load.length, data)
                written += load.length
    took = time.monotonic() - began
    return written / took, took


class _Asked:
    """Asks twenty times a second at most."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._asked_at = 0.0
        self._copies = True

    def copies(self) -> bool:
        """True while the first copy goes on."""
        now = time.monotonic()
        if now - self._asked_at > _ASK_SECONDS:
            self._asked_at = now
            self._copies = self._stack.primary_status().state == _RESYNCING
        return self._copies
