"""The secondary as a simulated process.

Real: `Replica` with its Disk Buffer, journal, flush and history. Stands in for the
edges `group` and `inbox`: one queue of received messages, one step of the applier, the
flush or a commit at a time, syncs between steps, the repetition of a paused flush.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from blkcolo.errors import BlkcoloError, DeadlineMissed, Reason, from_os_error
from blkcolo.roles import Role
from blkcolo.stream import Batch, Hello, Mismatch, StreamFailure
from blkcolo_coordinator.runs.roles import NodeView
from blkcolo_secondary.buffer.save_and_write import Sync
from blkcolo_secondary.core.replica import Replica
from blkcolo_secondary.core.replica_options import ReplicaOptions
from blkcolo_secondary.core.replica_state import ReplicaState
from blkcolo_secondary.core.stop_plan import StopMode
from blkcolo_secondary.record.history import HistoryPolicy
from tests.sim.commits import Commits
from tests.sim.oracle import refused_changes_nothing
from tests.sim.telling import places, told
from tests.sim.view_clients import ViewClients

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from blkcolo.intent.log import IntentLog
    from blkcolo.stream import Request
    from blkcolo_secondary.stream.receiver import Receiver
    from tests.sim.host import Host
    from tests.sim.network import Stream
    from tests.sim.world import World

_ENDED = (ReplicaState.FAILING_OVER, ReplicaState.FAILED_OVER)
#: The primary's window, and what may be in flight besides.
_QUEUE = 256 << 10


class SecondaryNode:
    """One life of the secondary."""

    def __init__(self, world: World, host: Host, intent: IntentLog) -> None:
        self.world = world
        self.name = host.name
        self.machine = host.machine
        self.side = host.side
        scenario = world.scenario
        self.replica = Replica(
            "vm",
            world.volumes,
            host.disks,
            self.machine.buffer,
            intent,
            lambda: f"copy {world.rng.random()}",
            ReplicaOptions(
                host_durable=self.machine.host,
                buffer_limit_bytes=scenario.buffer_limit,
                history=HistoryPolicy(keep=scenario.keep),
                reserve_bytes=4096,
            ),
        )
        self._queue: deque[tuple[int, Request]] = deque()
        self._applying: Iterator[Any] | None = None
        self._current = 0
        self._done = 1
        self._stream: Stream | None = None
        self._flush: Iterator[Any] | None = None
        self._commits = Commits(self)
        self.clients = ViewClients(world, host, self.replica)
        if self.replica.state in _ENDED:  # it may have died before it said so
            world.oracle.led_to(self.replica.shown)
        if self.replica.state is not ReplicaState.DISCONNECTED:
            world.oracle.leaves_drained()
        if self.replica.flushing:
            self._start_flush()

    def say(self, text: str) -> None:
        """A line of the trace."""
        self.world.note(self.name, text)

    def work_time(self) -> float:
        """How long a step on its disk takes, in seconds."""
        return self.world.rng.uniform(0.0, self.world.scenario.step)

    # The stream.

    def accept(self, stream: Stream) -> None:
        """A connection from the primary."""
        stream.on_request = self.world.guard(
            self.name, lambda seq, message: self._on_request(stream, seq, message)
        )
        stream.on_secondary_end = self.world.guard(
            self.name, lambda: self._on_end(stream)
        )

    def _on_request(self, stream: Stream, seq: int, message: Request) -> None:
        if isinstance(message, Hello):
            self._on_hello(stream, message)
            return
        receiver = self.replica.reception.stream
        if stream is not self._stream or receiver is None:
            return
        try:
            receiver.receive(seq)
        except BlkcoloError as error:
            self._fail(stream, receiver, error)
            return
        self._queue.append((seq, message))
        if self.world.rng.random() < 0.1:
            self._ack(stream, receiver)
        self._apply_soon()

    def _on_hello(self, stream: Stream, hello: Hello) -> None:
        try:
            welcome = self.replica.reception.hello(hello)
        except BlkcoloError as error:
            stream.response(StreamFailure(error))
            return
        self.say(f"takes a stream of generation {hello.generation}: {welcome}")
        self.side.admitted(hello.generation)
        self.world.oracle.leaves_drained()
        if welcome.committed is not None:
            self.world.faults.moment(self.name)
        self._stream, self._applying, self._done = stream, None, 1
        self._queue.clear()
        stream.response(welcome)

    def _ack(self, stream: Stream, receiver: Receiver) -> None:
        ack = self.replica.reception.ack(receiver)
        assert ack.applied <= self._done, f"{ack.applied} acked, {self._done} applied"
        stream.response(ack)

    def _on_end(self, stream: Stream) -> None:
        if stream is self._stream and self.replica.reception.stream is not None:
            self.replica.reception.ended(self.replica.reception.stream)

    def _fail(self, stream: Stream, receiver: Receiver, error: BlkcoloError) -> None:
        self.say(f"the stream fails: {error}")
        self.replica.reception.fault(receiver, error)
        self._queue.clear()
        self._applying = None
        stream.response(StreamFailure(error))

    def _apply_soon(self) -> None:
        if (
            self._applying is None
            and self._queue
            and self.replica.reception.stream is not None
        ):
            self._current, message = self._queue.popleft()
            self.say(f"applies message {self._current}: {told(message)}")
            self._applying = self.replica.reception.apply(
                self.replica.reception.stream, self._current, message
            )
            self.world.later(self.name, self.work_time(), self._step(self._applying))

    def _step(self, applying: Iterator[Any]) -> Callable[[], None]:
        def step() -> None:
            stream, receiver = self._stream, self.replica.reception.stream
            if applying is not self._applying or stream is None or receiver is None:
                return
            try:
                effect = next(applying, self)
            except BlkcoloError as error:
                self._fail(stream, receiver, error)
                return
            if effect is self:
                self._applying, self._done = None, self._current
                self._ack(stream, receiver)
                self._apply_soon()
                return
            if isinstance(effect, Mismatch):
                self.say(f"differs at {places(e[:3] for e in effect.extents)}")
                stream.response(effect)
            self.world.later(self.name, self.work_time(), lambda: sync(effect))

        def sync(effect: object) -> None:
            if isinstance(effect, Sync):
                try:
                    effect.run()
                except OSError as error:
                    stream, receiver = self._stream, self.replica.reception.stream
                    failure = from_os_error(error, "syncing")
                    if applying is self._applying and stream and receiver:
                        self._fail(stream, receiver, failure)
                    return
            step()

        return step

    # Calls; each answers once.

    def status(self) -> dict[str, Any]:
        replica = self.replica
        return {
            "state": replica.state,
            "generation": replica.generation,
            "committed": replica.shown,
            "kept": [checkpoint.epoch for checkpoint in replica.checkpoints.available],
            "buffer": replica.buffer.buffer_bytes,
            "discarded": replica.journal.state.discarded,
            "paused": replica.flushing and self._flush is None,
        }

    def view(self) -> NodeView:
        """As a change of roles asks."""
        replica = self.replica
        return NodeView(
            self.name,
            Role.SECONDARY,
            replica.generation,
            sum(volume.size for volume in replica.volumes),
            replica.dirty_bytes,
            failed_over=replica.state in _ENDED,
            flush_remaining=int(replica.state is ReplicaState.FAILING_OVER),
        )

    def prepare(
        self, epoch: int, generation: int, deadline: float, answer: Callable[..., None]
    ) -> None:
        """PrepareCheckpoint."""
        try:
            prepared = self.replica.checkpoints.prepared(epoch, generation)
        except BlkcoloError as error:
            answer(error)
            return
        self.side.admitted(generation)
        if prepared is not None:
            if self._stream is not None and epoch > (
                self.replica.checkpoints.committed or -1
            ):
                self.world.oracle.prepared(epoch, self._stream.spoiled_in)
            answer(prepared)
        elif self.world.clock.now > deadline:
            answer(DeadlineMissed(Reason.DEADLINE, "not prepared"))
        else:
            again = lambda: self.prepare(epoch, generation, deadline, answer)  # noqa: E731 - one line
            self.world.later(self.name, 0.002, again)

    def do_checkpoint(
        self, epoch: int, generation: int, answer: Callable[..., None]
    ) -> None:
        """DoCheckpoint."""
        self._commits.begin(epoch, generation, answer)

    def fail_over(
        self, generation: int, epoch: int | None, answer: Callable[..., None]
    ) -> None:
        """StopReplication with failover: answers at once."""
        side, before = self.side, self.replica.state
        if before not in _ENDED:
            side.failing_over_to(epoch)
            if (
                before is ReplicaState.STOPPED
                and self.replica.checkpoints.committed is None
            ):
                side.serves_discarded()
        try:
            with refused_changes_nothing(self.replica.journal):
                self.replica.stop(StopMode.FAILOVER, generation, epoch)
        except BlkcoloError as error:
            if self.replica.state not in _ENDED:
                side.failing_over_to(None)
            answer(error)
            return
        side.admitted(generation)
        if before not in _ENDED:
            self.say(f"fails over to {self.replica.shown}")
            self.world.oracle.led_to(self.replica.shown)
            self.world.oracle.leaves_drained()
            self.world.faults.moment(self.name)
        self._end_stream()
        answer(self.replica.shown)

    def stop(
        self, mode: StopMode, generation: int, answer: Callable[..., None]
    ) -> None:
        """StopReplication without failover: answers when the disk is ready."""
        if mode is StopMode.KEEP_LATEST:
            self.side.giving_up()
        before = self.replica.state
        try:
            with refused_changes_nothing(self.replica.journal):
                self.replica.stop(mode, generation)
        except BlkcoloError as error:
            answer(error)
            return
        self.side.admitted(generation)
        self.say(f"stops: {mode.name}")
        self.world.faults.moment(self.name)
        if mode is StopMode.KEEP_LATEST and before is not self.replica.state:
            self.side.gave_up()
            self.world.oracle.kept_latest(self.replica.buffer.disks)
            self.clients.stop_reading()
        self.world.oracle.leaves_drained()
        self._end_stream()
        answer(None)

    def _end_stream(self) -> None:
        self._queue.clear()
        self._applying = None
        if self._stream is not None:
            self._stream.cut()
        if self.replica.flushing and self._flush is None:
            self._start_flush()

    def _start_flush(self) -> None:
        self._flush = self.replica.flush_steps()
        self.world.later(self.name, self.work_time(), self._flush_step)

    def _flush_step(self) -> None:
        if self._flush is None:
            return
        try:
            effect = next(self._flush, self)
            if isinstance(effect, Sync):
                effect.run()
        except (OSError, BlkcoloError) as error:
            self.say(f"the flush pauses: {error}")
            self._flush = None
            return
        if effect is self:
            self.say(f"flushed: {self.replica.state.name}")
            self.world.tally[f"flush to {self.replica.state.name}"] += 1
            self.world.faults.moment(self.name, weight=5)
            self.world.faults.refusal(self.name)
            self._flush = None
            self.world.later(self.name, self.work_time(), self._commits.sweep)
            return
        self.world.later(self.name, 4 * self.work_time(), self._flush_step)

    def close(self) -> None:
        """It plays this role no more."""
        self._flush = None
        self._end_stream()
        self.replica.close()

    def check(self) -> None:
        """I1 to I3, what is being read stays, and I6."""
        self.side.check_secondary(self.replica)
        self.clients.check()
        queued = sum(
            len(message.payload) for _, message in self._queue if type(message) is Batch
        )
        assert queued <= _QUEUE, f"I6: {queued} bytes are queued"
