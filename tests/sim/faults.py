"""What goes wrong, and when: drawn while the run goes on, until the faults end.

A cut stream, a link that is down for a while, a process that dies now or in the middle
of one of its next file operations, one that hangs (SIGSTOP) for longer than every
deadline, a disk that fails for a while, a log on disk with a wrong byte in its middle,
and calls of somebody who is not in charge, or says again what was said long ago.
Processes die more often where something is being made to last.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, NamedTuple

from blkcolo.storage.records import HEADER_SIZE, MAGIC
from blkcolo_coordinator.core.group_state import ENDED
from blkcolo_secondary.core.stop_plan import StopMode
from tests.sim.calls import COORDINATOR, DEADLINE
from tests.sim.network import ignore

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from tests.sim.disks import SimFile, SimFolder
    from tests.sim.world import World

    _Call = Callable[[Any, Callable[[Any], None]], None]

_HEAD = struct.Struct("<4sBBHQQII")
_WATERMARK = 0


class Faults:
    """Does harm to a world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rng = world.rng

    def begin(self) -> None:
        """The first ones come soon."""
        self._world.clock.after(0.6, self._next)
        self._world.clock.after(0.3, self._rival)

    def moment(self, name: str, weight: float = 1.0) -> None:
        """Something is being made to last: a good moment to die, or to fail."""
        world, rng = self._world, self._rng
        if world.quiet:
            return
        kind = rng.random() / weight
        if kind < 0.05:
            world.machine(name).fuse = rng.randint(1, 25)
        elif kind < 0.09:
            world.clock.after(rng.uniform(0.0, 0.05), lambda: world.kill(name))
        elif kind < 0.1:
            world.machine(name).failing = 1

    def within(self, name: str, operations: int) -> None:
        """It may die in one of so many file operations, whose order counts."""
        if not self._world.quiet and self._rng.random() < 0.4:
            self._world.machine(name).fuse = self._rng.randint(1, operations)

    def refusal(self, name: str) -> None:
        """The disk may refuse one of the next file operations."""
        if not self._world.quiet and self._rng.random() < 0.4:
            self._world.machine(name).fails_in = self._rng.randint(0, 3)

    def lonely(self, name: str) -> None:
        """The coordinator may lose its way to a host, at a bad moment."""
        if not self._world.quiet and self._rng.random() < 0.1:
            self._world.sever(COORDINATOR, name, self._rng.uniform(0.1, 1.5))

    def lonely_soon(self, name: str) -> None:
        """The same, while a call is under way: it may be done, and not answered."""
        soon = self._rng.uniform(0.0, 0.01)
        self._world.clock.after(soon, lambda: self.lonely(name))

    def late(self, name: str, call: _Call) -> bool:
        """True if a call is lost on the way until its caller has given it up."""
        world, rng = self._world, self._rng
        if world.quiet or rng.random() > 0.25:
            return False
        arrives = DEADLINE + rng.uniform(0.0, 0.15)
        again = lambda: world.call(name, call, ignore, 1.0, "rival")  # noqa: E731 - one line
        world.clock.after(arrives, again)
        return True

    def _rival(self) -> None:
        """A call in an older generation, or of an old epoch in the current one.

        Or a start, as of a coordinator that has not heard of a failover.
        """
        world, rng = self._world, self._rng
        if world.quiet:
            return
        world.clock.after(rng.expovariate(3.0), self._rival)
        host = rng.choice((world.primary, world.secondary))
        known = world.oracle.sides[host].newest
        answered = world.oracle.sides[world.secondary].answered
        stale = rng.random() < 0.5
        epoch = (answered or 0) - rng.randint(0, 2)
        generation = known - 1 if stale else known
        if host == world.primary:
            calls = _calls_of_primary(generation, epoch)
        else:
            calls = _calls_of_secondary(generation, epoch)
        if not stale:
            calls = calls[:1]  # what does no harm when it is said again
        if world.store.state in ENDED and rng.random() < 0.5:
            host = world.primary
            known = world.oracle.sides[host].newest
            calls = [lambda node, answer: answer(node.forwarding().start(known))]
        if known > 0 and epoch >= 0 and answered is not None:
            call = rng.choice(calls)
            world.call(host, call, ignore, 1.0, "rival")

    def _next(self) -> None:
        world, rng = self._world, self._rng
        if world.quiet:
            return
        world.clock.after(rng.expovariate(1.2), self._next)
        processes = (world.primary, world.secondary, world.secondary, COORDINATOR)
        name, kind = rng.choice(processes), rng.random()
        if kind < 0.16:
            world.cut_streams()
        elif kind < 0.25:
            ends = rng.sample((world.primary, world.secondary, COORDINATOR), 2)
            world.sever(ends[0], ends[1], rng.uniform(0.1, 2.0))
        elif kind < 0.6:
            world.machine(name).fuse = rng.randint(1, 40)
        elif kind < 0.75:
            world.kill(name)
        elif kind < 0.85:
            world.pause(name, rng.uniform(0.05, 1.5))
        else:
            failing = rng.randint(1, 5)
            world.note(name, f"{failing} file operations will fail")
            world.machine(name).failing = failing


def _calls_of_primary(generation: int, epoch: int) -> list[_Call]:
    return [
        lambda node, answer: answer(node.forwarding().do_checkpoint(epoch, generation)),
        lambda node, answer: answer(node.forwarding().prepare(epoch, generation)),
        lambda node, answer: answer(node.forwarding().fence(generation)),
        lambda node, answer: answer(node.demote(generation)),
        lambda node, answer: answer(node.forwarding().start(generation)),
    ]


def _calls_of_secondary(generation: int, epoch: int) -> list[_Call]:
    return [
        lambda node, answer: node.receiving().do_checkpoint(epoch, generation, answer),
        lambda node, answer: node.receiving().prepare(epoch, generation, 0.0, answer),
        lambda node, answer: node.receiving().stop(
            StopMode.ROLLBACK, generation, answer
        ),
        lambda node, answer: node.receiving().fail_over(generation, None, answer),
        lambda node, answer: answer(node.promote(generation)),
    ]


class Rot(NamedTuple):
    """One wrong byte in the middle of a log, and its way back."""

    name: str
    file: SimFile
    position: int
    right: int

    def mend(self) -> None:
        """Restores the byte, as from a backup."""
        self.file.content[self.position] = self.right


def rot(folder: SimFolder, name: str, rng: random.Random, *, host: bool) -> Rot | None:
    """Damages a log where it is sure that it counted, if there is such a place."""
    if name not in folder.names():
        return None
    file = folder.open(name)
    provable = _provable(bytes(file.content), host=host)
    if not provable:
        return None
    start, end = rng.choice(provable)
    position = rng.randrange(start, end)
    right = file.content[position]
    file.content[position] = right ^ (1 << rng.randrange(8))
    return Rot(name, file, position, right)


def _provable(content: bytes, *, host: bool) -> list[tuple[int, int]]:
    """Start and end of each record that counted, whatever a crash left."""
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
        return spans  # what the death of a process leaves is a prefix, or whole
    return [(start, end) for start, end in spans if start < vouched]
