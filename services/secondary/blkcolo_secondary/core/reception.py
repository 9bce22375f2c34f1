"""What the primary sends: the one stream that is attached, from hello to ack.

A stream is replaced by the next hello, and ended by a stop. Whoever goes on with one
that was replaced, or that faulted, is refused at its next step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blkcolo.errors import BlkcoloError, Reason, Unavailable
from blkcolo.leaps import check_leap
from blkcolo.stream import Ack, Hello, Mismatch, Welcome
from blkcolo_secondary.buffer.repair import Doubt
from blkcolo_secondary.core.ahead import ahead_of
from blkcolo_secondary.core.doubt import distrust
from blkcolo_secondary.core.replica_state import Event, ReplicaState
from blkcolo_secondary.record.group_journal import Phase
from blkcolo_secondary.stream.apply_message import Target, message_steps
from blkcolo_secondary.stream.hello_check import check_hello, first_epoch, may_overwrite
from blkcolo_secondary.stream.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from blkcolo.intent.log import IntentLog
    from blkcolo.stream import Request
    from blkcolo_secondary.buffer.disk_buffer import DiskBuffer
    from blkcolo_secondary.buffer.save_and_write import Sync
    from blkcolo_secondary.core.dropped_files import DroppedFiles
    from blkcolo_secondary.core.replica_options import ReplicaOptions
    from blkcolo_secondary.core.standing import Standing
    from blkcolo_secondary.record.group_journal import DurableState, GroupJournal


class Reception:
    """The stream of one group.

    Attributes:
        stream: the newest one, which may have ended; None before the first, and
            behind a stop.
    """

    def __init__(
        self,
        standing: Standing,
        journal: GroupJournal,
        buffer: DiskBuffer,
        intent: IntentLog,
        dropped: DroppedFiles,
        new_id: Callable[[], str],
        options: ReplicaOptions,
    ) -> None:
        """No stream came yet.

        Args:
            standing: what a stream's start, end and fault change.
            journal: where its start is recorded.
            buffer: what it is applied to.
            intent: where the disk differs from what a demotion kept.
            dropped: what has to be gone when it starts.
            new_id: makes a name for a new copy, another one each time.
            options: see ReplicaOptions.
        """
        self.stream: Receiver | None = None
        self._standing = standing
        self._journal = journal
        self._buffer = buffer
        self._intent = intent
        self._dropped = dropped
        self._new_id = new_id
        self._options = options
        self._target = Target(standing.group, buffer, journal)

    @property
    def newest_epoch(self) -> int:
        """The newest epoch that anything was received in."""
        streamed = self.stream.epoch if self.stream is not None else 0
        return max(
            self._buffer.layers.newest_epoch or 0, self._journal.state.epoch, streamed
        )

    @property
    def buffer_full(self) -> bool:
        """True if the Disk Buffer is at its limit."""
        return 0 < self._options.buffer_limit_bytes <= self._buffer.buffer_bytes

    def hello(self, hello: Hello) -> Welcome:
        """Starts a stream; it replaces an older one.

        Raises:
            StaleGeneration, Refused, Invalid: nothing changed.
            BlkcoloError: the disk refused; without a checkpoint, what an older stream
                prepared is given up.
        """
        standing, durable = self._standing, self._journal.state
        standing.check_generation(hello.generation, may_be_newer=True)
        check_leap(standing.group, "epoch", hello.epoch, self.newest_epoch)
        check_hello(standing.group, self._buffer.volumes, hello)
        state = standing.after(Event.HELLO)
        is_replica = may_overwrite(durable, self._buffer, hello)
        self._make_way(durable)
        epoch = first_epoch(durable, hello, self.newest_epoch)
        continues = bool(durable.replica_id) and durable.is_replica
        now = self._journal.update(
            generation=hello.generation,
            phase=Phase.ACTIVE,
            epoch=epoch,
            replica_id=durable.replica_id if continues else self._new_id(),
            is_replica=is_replica,
        )
        self._buffer.start_stream(epoch)
        standing.enter(state)
        self.stream = Receiver(
            standing.group, hello.generation, self._buffer.volumes, epoch
        )
        return Welcome(
            hello.generation,
            now.failover_epoch,
            epoch,
            now.replica_id,
            now.incarnation,
            ahead=ahead_of(self._intent) if durable.discarded else None,
        )

    def _make_way(self, durable: DurableState) -> None:
        """Gives up what no failover needs, and sets room for one aside."""
        if durable.failover_epoch is None and not durable.discarded:
            self.stream = None  # what it prepared goes with its layers, refused or not
            self._buffer.forget_base()
        if not durable.discarded:
            self._intent.forget()  # of a failover that was not recorded
        self._dropped.sweep()
        self._journal.set_room_aside(self._options.reserve_bytes)

    def apply(
        self, stream: Receiver, seq: int, message: Request
    ) -> Iterator[Mismatch | Sync | Doubt | None]:
        """Applies a received message, in steps.

        A Mismatch is to be answered; a Sync is to be carried out before the next step;
        a Doubt is recorded, and to be told.

        Raises:
            BlkcoloError: the group is FAULTED now; nothing acknowledged is lost.
        """
        self._check_current(stream)
        try:
            for answer in self._steps(stream, seq, message):
                yield answer
                self._check_current(stream)  # a stop may come between two steps
        except BlkcoloError as error:
            self.fault(stream, error)
            raise
        stream.applied = seq

    def _steps(
        self, stream: Receiver, seq: int, message: Request
    ) -> Iterator[Mismatch | Sync | Doubt | None]:
        """Records what is in doubt before its blocks are overwritten; tells it then."""
        doubts: list[Doubt] = []
        for answer in message_steps(self._target, stream, seq, message):
            if isinstance(answer, Doubt):
                if distrust(self._journal, self._buffer, answer.epoch):
                    doubts.append(answer)
                continue
            yield from doubts
            doubts.clear()
            yield answer

    def _check_current(self, stream: Receiver) -> None:
        standing = self._standing
        if stream is self.stream and standing.state is ReplicaState.RECEIVING:
            return
        if stream is not self.stream or standing.failure is None:
            raise Unavailable(
                Reason.LINK_LOST,
                f"group {standing.group}: this stream was stopped or replaced",
            )
        raise standing.failure  # what was received behind the message under way

    def ack(self, stream: Receiver) -> Ack:
        """The stream's progress."""
        return Ack(stream.received, stream.applied, stream.durable, self.buffer_full)

    def fault(self, stream: Receiver, error: BlkcoloError) -> None:
        """The stream cannot be trusted from here on."""
        standing = self._standing
        if stream is self.stream and standing.state is ReplicaState.RECEIVING:
            standing.enter(standing.after(Event.FAULT), error)

    def ended(self, stream: Receiver) -> None:
        """The stream is gone; what it prepared may still be committed."""
        standing = self._standing
        if stream is self.stream and standing.state is ReplicaState.RECEIVING:
            standing.enter(standing.after(Event.STREAM_END))

    def give_up(self) -> None:
        """No stream is served any more, and nothing that one prepared is committed."""
        self.stream = None
