"""What a VM keeps of its speed during a first copy: `make bench-resync`.

The VM writes without a secondary, then while everything is copied, then while it
replicates; each line is what it wrote a second, and the part of its speed alone and
protected. Where the link is slower than the disk, a protected VM has the link's speed.
"""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from blkcolo.v1 import types_pb2
from tests.nbd_client import NbdClient
from tests.stack import MIB, PROTECTED, Stack, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

#: Half of it is data, half is a hole.
_SIZE = 1536 * MIB
_ALONE_SECONDS = 4.0
_RESYNCING = types_pb2.FORWARD_STATE_RESYNCING


class Load(NamedTuple):
    """A VM that writes blocks of `length` bytes, one after the other."""

    name: str
    length: int


_LOADS = (Load("4 KiB random writes", 4096), Load("256 KiB random writes", 256 << 10))


def measure(
    stack: Stack, load: Load, going_on: Callable[[float], bool]
) -> tuple[float, float]:
    """Bytes a second as long as it goes on, and how many seconds that was."""
    rng = random.Random(load.length)  # noqa: S311 - offsets
    data = rng.randbytes(load.length)
    blocks = _SIZE // load.length
    began, written = time.monotonic(), 0
    with NbdClient(stack.nbd["primary"], "disk0") as vm:
        while going_on(time.monotonic() - began):
            for _ in range(16):
                vm.write(rng.randrange(blocks) * load.length, data)
                written += load.length
    took = time.monotonic() - began
    return written / took, took


def run(load: Load) -> None:
    """One load from before the first copy to behind it."""
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(Path(folder), sizes=(_SIZE,))
        with stack.image("primary").open("wb") as image:
            image.truncate(_SIZE)
            for at in range(0, _SIZE, 2 * MIB):
                image.seek(at)
                image.write(random.Random(at).randbytes(MIB))  # noqa: S311 - content
        try:
            stack.start("secondary", "primary")
            alone, _ = measure(stack, load, lambda took: took < _ALONE_SECONDS)
            stack.start("coordinator")
            wait_until(lambda: stack.primary_status().state == _RESYNCING, "it copies")
            state = _Asked(stack)
            during, took = measure(stack, load, lambda _: state.copies())
            stack.wait_state(PROTECTED)
            after, _ = measure(stack, load, lambda took: took < _ALONE_SECONDS)
            resent = stack.primary_status().resent_bytes
        finally:
            stack.close()
    print(load.name)  # noqa: T201 - the result
    for when, speed in (("alone", alone), ("copying", during), ("protected", after)):
        of_alone, of_protected = 100 * speed / alone, 100 * speed / after
        kept = f"{of_alone:5.0f} % of alone {of_protected:5.0f} % of protected"
        print(f"  {when:10} {speed / MIB:8.1f} MiB/s {kept}")  # noqa: T201
    print(f"  {resent / MIB:.0f} MiB copied in {took:.1f} s\n")  # noqa: T201


class _Asked:
    """Asks twenty times a second at most."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._asked_at = 0.0
        self._copies = True

    def copies(self) -> bool:
        """True while the first copy goes on."""
        now = time.monotonic()
        if now - self._asked_at > 0.05:
            self._asked_at = now
            self._copies = self._stack.primary_status().state == _RESYNCING
        return self._copies


if __name__ == "__main__":
    for each in _LOADS:
        run(each)
