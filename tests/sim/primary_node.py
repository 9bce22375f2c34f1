"""The primary as a simulated process.

Real: `ForwarderCore` with its outbox, resync and intent log, and the state file. Stands
in for the edges `group` and `link`: carrying the outbox into a stream and answers back,
and when the intent log is cleared. The VM is the business of `vm_clients`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from blkcolo.errors import (
    BlkcoloError,
    DeadlineMissed,
    Reason,
    Refused,
    StaleGeneration,
    Unavailable,
    from_os_error,
)
from blkcolo.extents import BLOCK_SIZE
from blkcolo.roles import Role
from blkcolo.stream import Ack, Hello, Mismatch, StreamFailure, Welcome
from blkcolo_coordinator.runs.roles import NodeView
from blkcolo_primary.core import intent_bits
from blkcolo_primary.core.forward_state import ForwardState
from blkcolo_primary.core.forwarder import ForwarderCore
from blkcolo_primary.core.window import Window
from tests.sim.vm_clients import VmClients

if TYPE_CHECKING:
    from collections.abc import Callable

    from blkcolo.intent.log import IntentLog
    from blkcolo.stream import Response
    from blkcolo_primary.core.settler import Settler
    from tests.sim.host import Host
    from tests.sim.network import Stream
    from tests.sim.world import World

_BATCH = 8192
_WINDOW = Window(96 << 10, 24)
_LINK_TIMEOUT = 4.0
#: What may be in flight besides: these, of any size, and a resync of everything.
_BESIDES = 160 << 10


class PrimaryNode:
    """One life of the primary."""

    def __init__(self, world: World, host: Host, intent: IntentLog) -> None:
        self.world = world
        self.name = host.name
        self.machine = host.machine
        self.disks = host.disks
        self.side = host.side
        self.core = ForwarderCore(
            "vm",
            self.disks,
            self.machine.folder,
            intent,
            batch_bytes=_BATCH,
            window=_WINDOW,
            host=self.machine.host,
            settle_bytes=2 * BLOCK_SIZE,
            first_stop_mark=next(self.side.stop_marks),
        )
        self.stream: Stream | None = None
        self._progress_at = 0.0
        self._pumping = False
        self._held_until = 0.0
        self._closed = False
        self.clients = VmClients(self, intent)

    # Calls.

    def status(self) -> dict[str, Any]:
        core = self.core
        return {
            "state": core.state,
            "generation": core.generation,
            "epoch": core.epoch,
            "failure": core.failure,
            "sent": core.traffic.sent_bytes_in_epoch,
            "paused": False,
            "stop_mark": core.standing.stop_mark,
        }

    def view(self) -> NodeView:
        """As a change of roles asks."""
        core = self.core
        return NodeView(
            self.name,
            Role.PRIMARY,
            core.generation,
            sum(disk.size for disk in self.disks),
            core.intent.dirty_bytes,
            fenced=core.state is ForwardState.FENCED,
        )

    def start(
        self, generation: int, stop_mark: int = 0, sent_at: float | None = None
    ) -> None:
        """StartReplication; `sent_at`: when a caller that looked before it sent it."""
        self.core.start(generation, stop_mark)
        if sent_at is not None:
            self.side.started(sent_at)
        self.side.admitted(generation)
        self._drop_stream()
        stream = self.stream = self.world.connect(self.name)
        guard = self.world.guard
        stream.on_response = guard(self.name, lambda m: self._on_response(stream, m))
        stream.on_primary_end = guard(self.name, lambda e: self._on_end(stream, e))
        epoch = self.core.epoch
        stream.request(1, Hello("vm", generation, self.world.volumes, epoch=epoch))
        self._progress_at = self.world.clock.now
        self._watch(stream)

    def _watch(self, stream: Stream) -> None:
        """Ends a stream whose secondary stopped answering."""
        if stream is not self.stream:
            return
        now, stands = self.world.clock.now, self.core.stream
        if stands is not None and stands.outbox.drained:
            self._progress_at = now
        if now - self._progress_at > _LINK_TIMEOUT:
            self.lose(Unavailable(Reason.LINK_LOST, "no progress"))
        else:
            self.world.later(self.name, 0.5, lambda: self._watch(stream))

    def prepare(self, epoch: int, generation: int) -> int:
        """PrepareCheckpoint."""
        before = self.core.epoch
        seq = self.core.prepare(epoch, generation)
        self.side.admitted(generation)
        if self.core.epoch > before:
            self.world.note(self.name, f"barrier {epoch} is message {seq}")
            self.world.oracle.at_barrier(epoch, self.disks)
        self.pump()
        return seq

    def do_checkpoint(self, epoch: int, generation: int) -> int:
        """DoCheckpoint."""
        committed = self.core.do_checkpoint(epoch, generation)
        self.side.admitted(generation)
        due = intent_bits.are_foreign(self.core) or self.world.rng.random() < 0.8
        if due and not self.core.intent.clearing:
            self.core.intent.start_clear()
            self.world.faults.moment(self.name)
            self.world.later(self.name, self.world.rng.uniform(0, 0.1), self._synced)
        return committed

    def _synced(self) -> None:
        """The disks are durable before the bits of their writes go."""
        if self._closed:
            return
        try:
            if self.machine.host:
                self.flush()
            self._clear_intent()
        except OSError:
            self.core.intent.abandon_clear()

    def _clear_intent(self) -> None:
        if self._closed:
            return
        if self.clients.syncing:
            self.world.later(self.name, 0.001, self._clear_intent)
            return
        try:
            intent_bits.finish_clear(self.core, durable=self.machine.host)
            self.world.faults.moment(self.world.other(self.name))
        except OSError:
            self.core.intent.abandon_clear()

    @property
    def held(self) -> bool:
        """True while VM writes wait."""
        return self.world.clock.now < self._held_until

    def hold(self, generation: int, seconds: float) -> None:
        """Hold: VM writes wait."""
        self.core.standing.check_generation(generation, may_be_newer=False)
        if self.core.state is ForwardState.FENCED:
            raise Refused(Reason.FENCED, "no VM writes to hold")
        self.side.admitted(generation)
        self._held_until = self.world.clock.now + seconds

    def fence(self, generation: int, nothing_after: int | None = None) -> None:
        """Fence; with an epoch only if VM writes are held, and none came after it."""
        core = self.core
        clean = nothing_after is not None and core.state is not ForwardState.FENCED
        if clean and not (self.held and core.nothing_after(nothing_after or 0)):
            raise Refused(Reason.WRONG_STATE, "VM writes came after the checkpoint")
        core.fence(generation)
        if clean:
            self.world.oracle.fenced_behind(nothing_after or 0, self.disks)
        self.side.admitted(generation)
        self.side.fenced(generation)
        self.world.faults.moment(self.name)
        self._drop_stream()

    def stop(
        self, generation: int, deadline: float, answer: Callable[[Any], None]
    ) -> None:
        """StopReplication: answers when everything is applied."""
        stands, clock = self.core.stream, self.world.clock
        try:
            self.core.standing.check_generation(generation, may_be_newer=True)
        except BlkcoloError as error:
            answer(error)
            return
        if stands is not None and not stands.outbox.drained:
            if clock.now > deadline:
                answer(DeadlineMissed(Reason.DEADLINE, "not drained"))
                return
            self.world.later(
                self.name, 0.005, lambda: self.stop(generation, deadline, answer)
            )
            return
        drained = self.core.state is ForwardState.REPLICATING
        try:
            self.core.stop(generation)
        except BlkcoloError as error:
            answer(error)
            return
        self.side.admitted(generation)
        self.side.stopped(clock.now)
        if drained:
            self.world.oracle.drained(self.disks)
        self._drop_stream()
        answer(None)

    def close(self) -> None:
        """It plays this role no more."""
        self._closed = True
        self._drop_stream()
        self.core.intent.abandon_clear()

    # The stream.

    def _drop_stream(self) -> None:
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.cut()

    def lose(self, error: BlkcoloError) -> None:
        """The stream is given up."""
        self.world.note(self.name, f"loses the stream: {error}")
        self.core.lose(error)
        self._drop_stream()

    def _on_end(self, stream: Stream, error: BlkcoloError) -> None:
        if stream is self.stream:
            self.lose(error)

    def _on_response(self, stream: Stream, message: Response) -> None:
        core = self.core
        if stream is not self.stream:  # it came while the process hung
            return
        self._progress_at = self.world.clock.now
        try:
            match message:
                case Welcome():
                    core.welcome(message)
                    plan = core.plan.name if core.plan is not None else ""
                    text = f"welcomed into epoch {message.epoch}, resync {plan}"
                    self.world.note(self.name, text)
                    self.world.tally[f"resync {plan}"] += 1
                case Ack():
                    if core.stream is not None:
                        core.stream.outbox.acknowledge(message)
                case Mismatch():
                    core.mismatch(message)
                case StreamFailure(error):
                    self.lose(error)
                    if isinstance(error, StaleGeneration) and core.failure is error:
                        self.side.fenced(core.generation)
        except OSError as error:
            self.lose(from_os_error(error, "reading"))
        self.pump()

    def pump(self) -> None:
        """Goes on with the resync, and sends what is there."""
        core = self.core
        if core.stream is not None and core.stream.settler.needs_sync:
            work = self._sync_settled(core.stream.settler)
            self.world.later(self.name, 0.002, work)
        try:
            stepped = core.resync_step()
        except OSError as error:
            self.lose(from_os_error(error, "comparing"))
            return
        if stepped and not self._pumping:
            self._pumping = True
            self.world.later(
                self.name, self.world.rng.uniform(0, 0.01), self._pump_again
            )
        while core.stream is not None and self.stream is not None:
            taken = core.stream.outbox.take()
            if taken is None:
                break
            self.stream.request(*taken)

    def _sync_settled(self, settler: Settler) -> Callable[[], None]:
        def work() -> None:
            try:
                self.flush()
            except OSError as error:
                self.lose(from_os_error(error, "syncing"))
                return
            settler.disks_synced()
            self.pump()

        return work

    def _pump_again(self) -> None:
        self._pumping = False
        self.pump()

    def flush(self) -> None:
        """Makes the disks durable; raises OSError."""
        for disk, content in zip(self.disks, self.side.contents, strict=True):
            disk.sync()
            content.flushed()

    def check(self) -> None:
        """I6: what is in flight is bounded; I5: no stream, no protection."""
        in_flight = self.core.in_flight_bytes
        assert in_flight < _WINDOW.bytes + _BESIDES, f"I6: {in_flight} bytes in flight"
        assert not (self.core.protected and self.core.stream is None), "I5: no stream"
        self.side.check_primary(self.disks)


def unreachable(name: str) -> Unavailable:
    """What a caller of a dead process gets."""
    return Unavailable(Reason.PEER_UNREACHABLE, f"{name} is dead")
