"""Who reads and writes the view of a simulated secondary.

Stands in for the edge `view_export` and what calls it: the VM after a failover, a
Secondary VM (COLO), and a reader of a kept checkpoint.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blkcolo_secondary.core.replica_state import ReplicaState
from tests.sim.marked_writes import MarkedWrites

if TYPE_CHECKING:
    from blkcolo_secondary.core.replica import Replica
    from tests.sim.host import Host
    from tests.sim.vm import VmWrite
    from tests.sim.world import World

#: Requests that the VM has under way at most.
_DEPTH = 4


class ViewClients:
    """The clients of one replica."""

    def __init__(self, world: World, host: Host, replica: Replica) -> None:
        self._world = world
        self._name = host.name
        self._host = host.machine.host
        self._side = host.side
        self._replica = replica
        self._reading: int | None = None
        self._marked = MarkedWrites(
            world,
            host.name,
            replica.intent,
            replica.intend,
            lambda error: self._say(f"the intent log is not durable: {error}"),
        )

    def _say(self, text: str) -> None:
        self._world.note(self._name, text)

    def vm_writes(self, write: VmWrite) -> None:
        """A write of the VM after a failover, or of the Secondary VM (COLO)."""
        waits = self._replica.tracks and self._host
        if len(self._marked) < _DEPTH and not (waits and self._marked.come(write)):
            self.write(write)

    def write(self, write: VmWrite) -> None:
        """The same, when it has waited for its marks."""
        replica = self._replica
        beside = self._world.scenario.colo and replica.state is ReplicaState.RECEIVING
        if replica.tracks:
            self._world.oracle.vm_writes(self._name, replica.generation)
            if not self._intended(write):
                return
        elif not beside or replica.checkpoints.committed is None:
            return
        content = self._side.view_content(write.volume)
        self._say(f"{write} into the view of {replica.shown}")
        self._world.tally["write into the view"] += 1
        content.begin(write.offset, write.content)
        buffer, volume = replica.buffer, write.volume
        try:
            if write.data is not None:
                buffer.write(volume, write.offset, memoryview(write.data))
            else:
                buffer.zero(volume, write.offset, write.length, may_trim=write.trim)
            content.done()
            if write.flush and self._host:
                buffer.sync()
                for other in range(len(self._world.volumes)):
                    self._side.view_content(other).flushed()
        except OSError as error:
            self._say(f"refuses that: {error}")

    def _intended(self, write: VmWrite) -> bool:
        where = (write.volume, write.offset, write.length)
        try:
            self._replica.intend(*where)
        except OSError as error:
            self._say(f"refuses {write}: {error}")
            return False
        return not self._host or not self._replica.intent.unsynced(*where)

    def read_history(self) -> None:
        """A reader of a kept checkpoint comes, or goes."""
        kept = [checkpoint.epoch for checkpoint in self._replica.checkpoints.available]
        if self._reading is not None:
            self._replica.checkpoints.close_reader(self._reading)
            self._reading = None
        elif kept:
            self._reading = self._world.rng.choice(kept)
            self._replica.checkpoints.open_reader(self._reading)

    def stop_reading(self) -> None:
        """The checkpoints of before are gone."""
        self._reading = None

    def check(self) -> None:
        """What is being read stays."""
        replica = self._replica
        if self._reading is None or replica.state is not ReplicaState.RECEIVING:
            return
        kept = [checkpoint.epoch for checkpoint in replica.checkpoints.available]
        if replica.checkpoints.committed is not None:
            assert self._reading in kept, f"I1: {self._reading} is read, and gone"
