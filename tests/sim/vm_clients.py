"""The VM as a client of a simulated primary.

Real: `LocalWrites`. Stands in for the edge `vm_writes`: what the VM may do and when.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blkcolo.errors import from_os_error
from blkcolo_primary.core.forward_state import ForwardState
from blkcolo_primary.vm.local_writes import LocalWrites
from tests.sim.marked_writes import MarkedWrites

if TYPE_CHECKING:
    from blkcolo.intent.log import IntentLog
    from tests.sim.primary_node import PrimaryNode
    from tests.sim.vm import VmWrite

#: Requests that the VM has under way at most.
_DEPTH = 4


class VmClients:
    """What the VM does to one life of a primary."""

    def __init__(self, node: PrimaryNode, intent: IntentLog) -> None:
        world = node.world
        self._node = node
        self._world = world
        self._local = LocalWrites(
            node.core,
            world.volumes,
            node.lose,
            host=node.machine.host,
            clock=lambda: world.clock.now,
        )
        self._marked = MarkedWrites(
            world,
            node.name,
            intent,
            node.core.writes.intend,
            lambda error: node.lose(from_os_error(error, "syncing the intent log")),
        )

    @property
    def syncing(self) -> bool:
        """True while marks are being made durable."""
        return self._marked.syncing

    def vm_writes(self, write: VmWrite) -> None:
        """One write, zero or trim of the VM, if it may come."""
        core = self._node.core
        if core.state is ForwardState.FENCED or len(self._marked) >= _DEPTH:
            return
        if self._node.held:
            return
        if core.writes.congested:
            if self._world.scenario.detach:
                self._node.lose(self._local.congestion())
            return
        if not self._node.machine.host or not self._marked.come(write):
            self.write(write)

    def write(self, write: VmWrite) -> None:
        """The same, when it has waited for its marks."""
        core, disk = self._node.core, self._node.disks[write.volume]
        if core.state is ForwardState.FENCED:
            return
        self._world.oracle.vm_writes(self._node.name, core.generation)
        content = self._node.side.contents[write.volume]
        content.begin(write.offset, write.content)
        try:
            if write.data is not None:
                seq = self._write(write.volume, write.offset, memoryview(write.data))
            else:
                seq = self._local.zero(
                    write.volume,
                    write.offset,
                    write.length,
                    lambda: disk.zero(write.offset, write.length, may_trim=write.trim),
                    trim=write.trim,
                )
            content.done()
            if write.flush and self._node.machine.host:
                self._node.flush()
        except OSError as error:
            content.refused(disk)
            self._world.note(self._node.name, f"refuses {write}: {error}")
        else:
            assert seq is not None or not core.protected, "I5: bypassed, and protected"
            self._world.note(
                self._node.name, f"{write} in epoch {core.epoch}, message {seq}"
            )
            self._world.tally["write of the VM"] += 1
        self._node.pump()

    def _write(self, volume: int, offset: int, data: memoryview) -> int | None:
        """One write, or the same bytes as a burst of four; the seq that covers it."""
        piece = len(data) // 4
        if offset % 2 or 4 * piece != len(data):
            return self._local.write(volume, offset, data)
        offsets = range(offset, offset + len(data), piece)
        pieces = [data[at : at + piece] for at in range(0, len(data), piece)]
        done = self._local.write_each(volume, offsets, pieces)
        self._world.tally["write of a burst"] += done
        stands = self._node.core.stream
        seq = stands.outbox.last_seq if stands is not None else None
        for at, rest in zip(offsets[done:], pieces[done:], strict=True):
            seq = self._local.write(volume, at, rest)
        return seq
