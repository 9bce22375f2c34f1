"""What goes wrong, and when: drawn while the run goes on, until the faults end.

A cut stream, a process that dies now or in the middle of one of its next file
operations, one that hangs (SIGSTOP) for longer than every deadline, a disk that fails
for a while, and a log on disk with a wrong byte in its middle.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from blkcolo.records import HEADER_SIZE, MAGIC

if TYPE_CHECKING:
    import random

    from tests.sim.disks import Machine, SimFile
    from tests.sim.world import World

_PROCESSES = ("primary", "secondary", "secondary", "coordinator")
_HEAD = struct.Struct("<4sBBHQQII")
_WATERMARK = 0


class Faults:
    """Does harm to a world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rng = world.rng

    def begin(self) -> None:
        """The first one comes soon."""
        self._world.clock.after(0.3, self._next)

    def _next(self) -> None:
        world, rng = self._world, self._rng
        if world.quiet:
            return
        world.clock.after(rng.expovariate(2.0), self._next)
        name, kind = rng.choice(_PROCESSES), rng.random()
        if kind < 0.25:
            world.cut_stream()
        elif kind < 0.6:
            world.machine(name).fuse = rng.randint(1, 40)
        elif kind < 0.75:
            world.kill(name)
        elif kind < 0.85:
            world.pause(name, rng.uniform(0.1, 3.0))
        else:
            failing = rng.randint(1, 5)
            world.note(name, f"{failing} file operations will fail")
            world.machine(name).failing = failing


class Rot(NamedTuple):
    """One wrong byte in the middle of a log, and its way back."""

    name: str
    file: SimFile
    position: int
    right: int

    def mend(self) -> None:
        """Restores the byte, as from a backup."""
        self.file.content[self.position] = self.right


def rot(machine: Machine, name: str, rng: random.Random) -> Rot | None:
    """Damages a log where a later record proves that it counted, if there is one."""
    if name not in machine.folder.names():
        return None
    file = machine.folder.open(name)
    provable = _provable(bytes(file.content), host=machine.host)
    if not provable:
        return None
    start, end = rng.choice(provable)
    position = rng.randrange(start, end)
    right = file.content[position]
    file.content[position] = right ^ (1 << rng.randrange(8))
    return Rot(name, file, position, right)


def _provable(content: bytes, *, host: bool) -> list[tuple[int, int]]:
    """Start and end of each record that a later one vouches for."""
    spans: list[tuple[int, int]] = []
    vouched, at = 0, 0
    while content[at : at + 4] == MAGIC and at + HEADER_SIZE <= len(content):
        _, _, kind, _, a, _, length, _ = _HEAD.unpack_from(content, at)
        end = at + HEADER_SIZE + length
        if end > len(content):
            break
        vouched = max(vouched, a if kind == _WATERMARK else 0)
        spans.append((at, end))
        at = end
    if not host:
        return spans[:-1]
    return [(start, end) for start, end in spans if start < vouched]
