"""The secondary as a simulated process: its core, its queue, its flush."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from blkcolo.errors import BlkcoloError, DeadlineMissed, Reason
from blkcolo.stream import Hello, Mismatch, StreamFailure
from blkcolo_secondary.history import HistoryPolicy
from blkcolo_secondary.replica import Replica
from blkcolo_secondary.replica_options import ReplicaOptions
from blkcolo_secondary.save_and_write import Sync
from blkcolo_secondary.stop_plan import StopMode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from blkcolo.stream import Request
    from blkcolo_secondary.receiver import Receiver
    from tests.sim.network import Stream
    from tests.sim.world import World

Answer = "Callable[[Any], None]"


class SecondaryNode:
    """One life of the secondary."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.machine = world.secondary_machine
        self.replica = Replica(
            "vm",
            world.volumes,
            world.secondary_disks,
            self.machine.folder,
            lambda: f"copy {world.rng.random()}",
            ReplicaOptions(
                host_durable=self.machine.host, history=HistoryPolicy(keep=1)
            ),
        )
        self._queue: deque[tuple[int, Request]] = deque()
        self._applying: Iterator[Any] | None = None
        self._current = 0
        self._stream: Stream | None = None
        self._flush: Iterator[Any] | None = None
        if self.replica.flushing:
            self._start_flush()

    # The stream.

    def accept(self, stream: Stream) -> None:
        """A connection from the primary."""
        stream.on_request = self.world.guard(
            "secondary", lambda seq, message: self._on_request(stream, seq, message)
        )
        stream.on_secondary_end = self.world.guard(
            "secondary", lambda: self._on_end(stream)
        )

    def _on_request(self, stream: Stream, seq: int, message: Request) -> None:
        if isinstance(message, Hello):
            try:
                welcome = self.replica.hello(message)
            except BlkcoloError as error:
                stream.response(StreamFailure(error))
                return
            self._stream, self._applying = stream, None
            self._queue.clear()
            stream.response(welcome)
            return
        receiver = self.replica.stream
        if stream is not self._stream or receiver is None:
            return
        try:
            receiver.receive(seq)
        except BlkcoloError as error:
            self._fail(stream, receiver, error)
            return
        self._queue.append((seq, message))
        self._apply_soon()

    def _on_end(self, stream: Stream) -> None:
        if stream is self._stream and self.replica.stream is not None:
            self.replica.stream_ended(self.replica.stream)

    def _fail(self, stream: Stream, receiver: Receiver, error: BlkcoloError) -> None:
        self.replica.fault(receiver, error)
        self._queue.clear()
        self._applying = None
        stream.response(StreamFailure(error))

    def _apply_soon(self) -> None:
        if self._applying is None and self._queue and self.replica.stream is not None:
            self._current, message = self._queue.popleft()
            self._applying = self.replica.apply(
                self.replica.stream, self._current, message
            )
            self.world.later("secondary", self._work_time(), self._step(self._applying))

    def _work_time(self) -> float:
        return self.world.rng.uniform(0.0, 0.002)

    def _step(self, applying: Iterator[Any]) -> Callable[[], None]:
        def step() -> None:
            stream, receiver = self._stream, self.replica.stream
            if applying is not self._applying or stream is None or receiver is None:
                return
            try:
                effect = next(applying, self)
            except BlkcoloError as error:
                self._fail(stream, receiver, error)
                return
            if effect is self:
                self._applying = None
                stream.response(self.replica.ack(receiver))
                self._apply_soon()
                return
            if isinstance(effect, Mismatch):
                stream.response(effect)
            again = self._step(applying)
            self.world.later("secondary", self._work_time(), _then(effect, again))

        return step

    # Calls; each answers once.

    def status(self) -> dict[str, Any]:
        replica = self.replica
        return {
            "state": replica.state,
            "generation": replica.generation,
            "committed": replica.committed,
            "kept": [checkpoint.epoch for checkpoint in replica.checkpoints],
            "buffer": replica.buffer.buffer_bytes,
        }

    def prepare(
        self, epoch: int, generation: int, deadline: float, answer: Callable[..., None]
    ) -> None:
        """PrepareCheckpoint."""
        try:
            prepared = self.replica.prepared(epoch, generation)
        except BlkcoloError as error:
            answer(error)
            return
        if prepared is not None:
            answer(prepared)
        elif self.world.clock.now > deadline:
            answer(DeadlineMissed(Reason.DEADLINE, "not prepared"))
        else:
            again = lambda: self.prepare(epoch, generation, deadline, answer)  # noqa: E731
            self.world.later("secondary", 0.002, again)

    def do_checkpoint(
        self, epoch: int, generation: int, answer: Callable[..., None]
    ) -> None:
        """DoCheckpoint: sync the disks, commit, sync the journal."""
        replica, host = self.replica, self.machine.host

        def commit() -> None:
            try:
                committed = replica.do_checkpoint(
                    epoch, generation, self.world.clock.now
                )
            except BlkcoloError as error:
                answer(error)
                return
            if host:
                self.world.later("secondary", self._work_time(), finish(committed))
            else:
                finish(committed)()

        def finish(committed: Any) -> Callable[[], None]:
            def work() -> None:
                if host:
                    replica.journal.sync()
                self.world.oracle.commit_answered(committed.epoch)
                answer(committed)
                self.world.later("secondary", 0.01, replica.buffer.sweep)

            return work

        try:
            due = replica.check_commit(epoch, generation)
        except BlkcoloError as error:
            answer(error)
            return
        if due and host:
            replica.buffer.sync_disks()
            self.world.later("secondary", self._work_time(), commit)
        else:
            commit()

    def fail_over(self, generation: int, answer: Callable[..., None]) -> None:
        """StopReplication with failover: answers at once."""
        try:
            self.replica.stop(StopMode.FAILOVER, generation)
        except BlkcoloError as error:
            answer(error)
            return
        self._queue.clear()
        self._applying = None
        if self.replica.flushing and self._flush is None:
            self._start_flush()
        answer(self.replica.shown)

    def _start_flush(self) -> None:
        self._flush = self.replica.flush_steps()
        self.world.later("secondary", self._work_time(), self._flush_step)

    def _flush_step(self) -> None:
        if self._flush is None:
            return
        effect = next(self._flush, self)
        if effect is self:
            self._flush = None
            return
        self.world.later(
            "secondary", self._work_time(), _then(effect, self._flush_step)
        )

    # The VM, after a failover, or beside the primary's (COLO).

    def vm_writes(self) -> None:
        """One write into the view."""
        rng = self.world.rng
        volume = rng.randrange(len(self.world.volumes))
        size = self.world.volumes[volume].size
        offset = rng.randrange(size)
        data = rng.randbytes(min(rng.choice((1, 100, 4096, 9000)), size - offset))
        if self.replica.state.name.startswith("FAIL"):
            self.world.oracle.vm_wrote("secondary", self.replica.generation)
        self.world.oracle.writing_view(volume, offset, data)
        self.replica.buffer.write(volume, offset, memoryview(data))
        if self.machine.host:
            self.replica.buffer.sync()
        self.world.oracle.view_written()


def _then(effect: object, work: Callable[[], None]) -> Callable[[], None]:
    """Carries an effect out, then goes on."""

    def both() -> None:
        if isinstance(effect, Sync):
            effect.run()
        work()

    return both
