"""The primary as a simulated process: its core, its disks, its VM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from blkcolo.errors import BlkcoloError, Reason, Unavailable
from blkcolo.stream import Ack, Hello, Mismatch, StreamFailure, Welcome
from blkcolo_primary.forward_state import ForwardState
from blkcolo_primary.forwarder_core import ForwarderCore
from blkcolo_primary.intent_log import IntentLog

if TYPE_CHECKING:
    from blkcolo.stream import Response
    from tests.sim.network import Stream
    from tests.sim.world import World

_WINDOW = 96 << 10


class PrimaryNode:
    """One life of the primary."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.machine = world.primary_machine
        self.disks = world.primary_disks
        sizes = [disk.size for disk in self.disks]
        self.core = ForwarderCore(
            "vm",
            self.disks,
            self.machine.folder,
            IntentLog(self.machine.folder, "vm", sizes, 4096),
            batch_bytes=8192,
            window_bytes=_WINDOW,
        )
        self.stream: Stream | None = None
        self._pumping = False

    # Calls.

    def status(self) -> dict[str, Any]:
        core = self.core
        return {
            "state": core.state,
            "generation": core.generation,
            "epoch": core.epoch,
            "failure": core.failure,
            "sent": core.sent_bytes_in_epoch,
        }

    def start(self, generation: int) -> None:
        """StartReplication."""
        self.core.start(generation)
        self._drop_stream()
        stream = self.stream = self.world.connect()
        stream.on_response = self.world.guard("primary", self._on_response)
        stream.on_primary_end = self.world.guard("primary", self._lose)
        stream.request(1, Hello("vm", generation, self.world.volumes))

    def prepare(self, epoch: int, generation: int) -> int:
        """PrepareCheckpoint."""
        seq = self.core.prepare(epoch, generation)
        self.world.oracle.at_barrier(epoch, self.disks)
        self.pump()
        return seq

    def do_checkpoint(self, epoch: int, generation: int) -> int:
        """DoCheckpoint."""
        committed = self.core.do_checkpoint(epoch, generation)
        due = self.core.intent_is_stale or self.world.rng.random() < 0.3
        if due and not self.core.intent.clearing:
            self.core.intent.start_clear()
            self.world.later("primary", 0.01, self._clear_intent)
        return committed

    def _clear_intent(self) -> None:
        if self.machine.host:
            for disk in self.disks:
                disk.sync()
        self.core.finish_clear_intent(durable=self.machine.host)

    def fence(self, generation: int) -> None:
        """Fence."""
        self.core.fence(generation)
        self._drop_stream()

    # The stream.

    def _drop_stream(self) -> None:
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.cut()

    def _lose(self, error: BlkcoloError) -> None:
        if self.stream is not None and not self.stream.open:
            self.stream = None
            self.core.lose(error)

    def _on_response(self, message: Response) -> None:
        core = self.core
        match message:
            case Welcome():
                core.welcome(message)
            case Ack():
                if core.outbox is not None:
                    core.outbox.acknowledge(message)
            case Mismatch():
                core.mismatch(message)
            case StreamFailure(error):
                self._drop_stream()
                core.lose(error)
        self.pump()

    def pump(self) -> None:
        """Goes on with the resync, and sends what is there."""
        core = self.core
        if core.resync_step() and not self._pumping:
            self._pumping = True
            self.world.later("primary", 0.001, self._pump_again)
        while core.outbox is not None and self.stream is not None:
            taken = core.outbox.take()
            if taken is None:
                break
            self.stream.request(*taken)

    def _pump_again(self) -> None:
        self._pumping = False
        self.pump()

    # The VM.

    def vm_writes(self) -> None:
        """One write, zero or trim of the VM, if it may."""
        core, rng = self.core, self.world.rng
        if core.state is ForwardState.FENCED or core.in_flight_bytes >= _WINDOW:
            return
        volume = rng.randrange(len(self.disks))
        disk = self.disks[volume]
        offset = rng.randrange(disk.size)
        length = min(rng.choice((1, 100, 512, 4096, 9000)), disk.size - offset)
        self.world.oracle.vm_wrote("primary", core.generation)
        core.intend(volume, offset, length)
        if self.machine.host:
            core.intent.start_sync()
            core.intent.sync()
            core.intent.end_sync(durable=True)
        kind = rng.random()
        if kind < 0.8:
            data = rng.randbytes(length)
            disk.write(offset, data)
            core.wrote(volume, offset, memoryview(data))
        else:
            disk.zero(offset, length, may_trim=kind > 0.9)
            core.zeroed(volume, offset, length, trim=kind > 0.9)
        self.pump()

    def check(self) -> None:
        """I6: what is in flight is bounded; I5: no stream, no protection."""
        assert self.core.in_flight_bytes < 4 * _WINDOW, "I6: the window grows"
        assert not (self.core.protected and self.core.outbox is None), "I5"


def unreachable(name: str) -> Unavailable:
    """What a caller of a dead process gets."""
    return Unavailable(Reason.PEER_UNREACHABLE, f"{name} is dead")
