"""The secondary's core for one group: streams, checkpoints, and their end.

Sans-IO: no clock, no task, no socket; files come in through the `files` port and
time as an argument. The edge (`group`) hands in messages in order and runs the step
generators; every method leaves the invariants of `disk_buffer` true when it returns
or raises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blkcolo.errors import (
    BlkcoloError,
    Reason,
    Refused,
    Unavailable,
    translated,
)
from blkcolo.intent.log import BEFORE_ALL_EPOCHS
from blkcolo.leaps import check_generation, check_leap
from blkcolo.storage import reserve
from blkcolo.stream import Ack, Hello, Mismatch, Welcome
from blkcolo_secondary.buffer.save_and_write import Sync
from blkcolo_secondary.core import flush
from blkcolo_secondary.core.after_start import open_buffer, state_at_start
from blkcolo_secondary.core.ahead import ahead_of
from blkcolo_secondary.core.checkpoints import Checkpoints
from blkcolo_secondary.core.replica_state import Event, ReplicaState, advance
from blkcolo_secondary.core.stop_plan import (
    StopMode,
    carry_out,
    check_target,
    plan_stop,
    stopped_already,
)
from blkcolo_secondary.core.survivor import check_demotion, keep_contents, track_from
from blkcolo_secondary.record.group_journal import GroupJournal, Phase
from blkcolo_secondary.stream.apply_message import Target, message_steps
from blkcolo_secondary.stream.hello_check import check_hello, first_epoch, may_overwrite
from blkcolo_secondary.stream.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from blkcolo.intent.log import IntentLog
    from blkcolo.storage.files import BlockFile, Folder
    from blkcolo.storage.records import Progress
    from blkcolo.stream import Request, VolumeId
    from blkcolo_secondary.buffer.buffer_files import Discarded
    from blkcolo_secondary.core.replica_options import (
        Committed,
        Prepared,
        ReplicaOptions,
    )
    from blkcolo_secondary.record.group_journal import Checkpoint

#: A file in the group's folder; see `blkcolo.storage.reserve`.
_RESERVE = "reserve"
#: The VM writes here; what it writes is marked in the intent log.
_TRACKS = frozenset({ReplicaState.FAILING_OVER, ReplicaState.FAILED_OVER})


class Replica:
    """One group on the secondary."""

    def __init__(
        self,
        group: str,
        volumes: Sequence[VolumeId],
        disks: Sequence[BlockFile],
        folder: Folder,
        intent: IntentLog,
        new_id: Callable[[], str],
        options: ReplicaOptions,
        progress: Progress | None = None,
    ) -> None:
        """Goes on from what the folder says.

        Args:
            group: its name.
            volumes: its volumes.
            disks: their disks, in the same order.
            folder: where journal, layers and overlays live.
            intent: where the disk differs from a checkpoint: written after a failover,
                kept after a demotion; the caller closes it.
            new_id: makes a name for a new copy, another one each time.
            options: see ReplicaOptions.
            progress: told how far each undo layer is read.

        Raises:
            DataLoss: the journal or a layer is damaged; names file and offset.
        """
        self.group = group
        self.volumes = volumes
        self.options = options
        self.intent = intent
        self._folder = folder
        self._new_id = new_id
        self.journal = GroupJournal(folder, host=options.host_durable)
        durable = self.journal.state
        self.state = state_at_start(durable)
        host = options.host_durable
        self.buffer = open_buffer(durable, volumes, disks, folder, host, progress)
        self._target = Target(group, self.buffer, self.journal)
        self._checkpoints = Checkpoints(
            group, self.journal, self.buffer, intent, options.history
        )
        self.stream: Receiver | None = None
        self.failure: BlkcoloError | None = None

    # What it is.

    @property
    def generation(self) -> int:
        """The newest known generation."""
        return self.journal.state.generation

    @property
    def committed(self) -> int | None:
        """The epoch that failover leads to; None where there is none."""
        return self._checkpoints.committed

    @property
    def shown(self) -> int | None:
        """The checkpoint in the view: the committed one, or a failover's target."""
        return self.buffer.base

    @property
    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """The checkpoints that failover can lead to, oldest first."""
        return () if self.tracks else self._checkpoints.kept

    @property
    def buffer_full(self) -> bool:
        """True if the Disk Buffer is at its limit."""
        return 0 < self.options.buffer_limit_bytes <= self.buffer.buffer_bytes

    @property
    def tracks(self) -> bool:
        """True where the VM's writes are marked: it was failed over."""
        return self.state in _TRACKS

    @property
    def dirty_bytes(self) -> int | None:
        """Bytes in which this disk may differ from a checkpoint of its last life.

        None where that is not known, or means nothing.
        """
        meant = self.tracks or self.journal.state.discarded
        return self.intent.dirty_bytes if meant else None

    @property
    def flushing(self) -> bool:
        """True while steps of `flush_steps` are due."""
        return self.state in (ReplicaState.FAILING_OVER, ReplicaState.ROLLING_BACK)

    def _check_generation(self, generation: int, *, may_be_newer: bool) -> None:
        check_generation(
            self.group,
            generation,
            self.generation,
            brought_by=None if may_be_newer else "a stream or a stop",
        )

    def check_growth(self, generation: int) -> None:
        """Raises Refused where a volume cannot grow now."""
        self._check_generation(generation, may_be_newer=False)
        if self.flushing or self.state is ReplicaState.FAILED_OVER:
            raise Refused(
                Reason.WRONG_STATE,
                f"group {self.group} is {self.state.name}: a volume grows while it"
                " replicates, or is stopped",
            )

    # The stream.

    def hello(self, hello: Hello) -> Welcome:
        """Starts a stream; it replaces an older one.

        Raises:
            StaleGeneration, Refused, Invalid: nothing changed.
            BlkcoloError: the disk refused; without a checkpoint, what an older stream
                prepared is given up.
        """
        self._check_generation(hello.generation, may_be_newer=True)
        check_leap(self.group, "epoch", hello.epoch, self.newest_epoch)
        check_hello(self.group, self.volumes, hello)
        state = advance(self.group, self.state, Event.HELLO)
        durable = self.journal.state
        is_replica = may_overwrite(durable, self.buffer, hello)
        replica_id = durable.replica_id
        if self.committed is None and not durable.discarded:
            self.stream = None  # what it prepared goes with its layers, refused or not
            self.buffer.forget_base()
        if not replica_id or not durable.is_replica:
            replica_id = self._new_id()
        if not durable.discarded:
            self.intent.forget()  # of a failover that was not recorded
        self._sweep()
        reserve.fill(self._folder, _RESERVE, self.options.reserve_bytes)
        epoch = first_epoch(durable, hello, self.newest_epoch)
        self.journal.update(
            generation=hello.generation,
            phase=Phase.ACTIVE,
            epoch=epoch,
            replica_id=replica_id,
            is_replica=is_replica,
        )
        self.buffer.start_stream(epoch)
        self.state, self.failure = state, None
        self.stream = Receiver(self.group, hello.generation, self.volumes, epoch)
        return Welcome(
            hello.generation,
            self.committed,
            epoch,
            replica_id,
            durable.incarnation,
            ahead=ahead_of(self.intent) if durable.discarded else None,
        )

    def _sweep(self) -> None:
        """Removes dropped files: those of an ACTIVE group count at its next start."""
        if self.options.host_durable:
            # A commit may be under way, or have failed: it dropped some of them.
            self.journal.update()
        with translated("removing dropped undo layers"):
            self.buffer.sweep()

    def apply(
        self, stream: Receiver, seq: int, message: Request
    ) -> Iterator[Mismatch | Sync | None]:
        """Applies a received message, in steps.

        A Mismatch is to be answered; a Sync is to be carried out before the next step.

        Raises:
            BlkcoloError: the group is FAULTED now; nothing acknowledged is lost.
        """
        self._check_current(stream)
        try:
            for answer in message_steps(self._target, stream, seq, message):
                yield answer
                self._check_current(stream)  # a stop may come between two steps
        except BlkcoloError as error:
            self.fault(stream, error)
            raise
        stream.applied = seq

    def _check_current(self, stream: Receiver) -> None:
        if stream is self.stream and self.state is ReplicaState.RECEIVING:
            return
        if stream is not self.stream or self.failure is None:
            raise Unavailable(
                Reason.LINK_LOST,
                f"group {self.group}: this stream was stopped or replaced",
            )
        raise self.failure  # what was received behind the message under way

    def fault(self, stream: Receiver, error: BlkcoloError) -> None:
        """The stream cannot be trusted from here on."""
        if stream is self.stream and self.state is ReplicaState.RECEIVING:
            self.state = advance(self.group, self.state, Event.FAULT)
            self.failure = error

    def stream_ended(self, stream: Receiver) -> None:
        """The stream is gone; what it prepared may still be committed."""
        if stream is self.stream and self.state is ReplicaState.RECEIVING:
            self.state = advance(self.group, self.state, Event.STREAM_END)

    def ack(self, stream: Receiver) -> Ack:
        """The stream's progress."""
        return Ack(stream.received, stream.applied, stream.durable, self.buffer_full)

    # Checkpoints.

    def prepared(
        self, epoch: int, generation: int, barrier_seq: int = 0
    ) -> Prepared | None:
        """Says that the epoch is prepared, or None while its writes are under way.

        Args:
            epoch: the epoch.
            generation: the caller's.
            barrier_seq: its barrier's place in the stream; 0 if it is not known.

        Raises:
            BlkcoloError: it will not be prepared without a change; says which.
        """
        self._check_generation(generation, may_be_newer=False)
        stream = self.stream
        prepared = self._checkpoints.prepared(stream, epoch)
        if prepared is not None:
            return prepared
        if stream is None or self.state is not ReplicaState.RECEIVING:
            raise self.failure or Refused(
                Reason.NOT_REPLICATING,
                f"group {self.group} is {self.state.name}: preparing epoch {epoch}"
                " needs it to be RECEIVING; resume replication",
                epoch=epoch,
            )
        stream.check_preparable(epoch, barrier_seq)
        return None

    def commit_steps(
        self, epoch: int, generation: int, now: float
    ) -> Generator[Sync, None, Committed]:
        """Commits as `do_checkpoint`, durably where power loss is to be survived.

        The disks are durable before the commit record, the record before the answer.
        A Sync is to be carried out before the next step; meanwhile messages may be
        applied, and the next epoch prepared.

        Raises:
            BlkcoloError: as `do_checkpoint`.
        """
        host = self.options.host_durable
        self._check_generation(generation, may_be_newer=False)
        if self._checkpoints.is_due(self.stream, epoch) and host:
            yield Sync(self.buffer.sync_disks)
        committed = self.do_checkpoint(epoch, generation, now)
        if host:
            yield Sync(self.journal.sync)
        return committed

    def do_checkpoint(self, epoch: int, generation: int, now: float) -> Committed:
        """Commits a prepared epoch, and every one before it; see `commit_steps`.

        Args:
            epoch: the epoch.
            generation: the caller's.
            now: seconds since 1970.

        Raises:
            Refused: it is not prepared, or the caller's generation is not in force.
            BlkcoloError: the commit record could not be written: nothing happened.
        """
        self._check_generation(generation, may_be_newer=False)
        return self._checkpoints.commit(self.stream, epoch, now)

    def layer_damaged(self, epoch: int, error: BlkcoloError) -> None:
        """An undo layer does not hold what was saved: what rests on it is given up.

        Kept checkpoints before it go. Where it leads back to the committed one, a
        failover would be wrong until the next commit, which drops it: so the stream
        faults, which ends the protection, and the next one begins with a checkpoint.
        Where the layers are being undone, or were, nothing is given up any more.

        Raises:
            BlkcoloError: the journal could not be written: nothing happened.
        """
        committed = self.committed
        if self.flushing or self.tracks:
            return
        if committed is not None and epoch <= committed:
            self._checkpoints.give_up_before(epoch)
        elif self.stream is not None:
            self.fault(self.stream, error)

    def open_reader(self, epoch: int) -> None:
        """A reader of a kept checkpoint comes: it stays until the reader goes."""
        self._checkpoints.open_reader(epoch)

    def close_reader(self, epoch: int) -> None:
        """A reader goes."""
        self._checkpoints.close_reader(epoch)

    # The end.

    def stop(self, mode: StopMode, generation: int, epoch: int | None = None) -> None:
        """Ends replication; `flush_steps` does the work where there is any.

        Answers the same when repeated.

        Args:
            mode: what is left on the disk.
            generation: the caller's.
            epoch: with FAILOVER the kept checkpoint to lead to; by default the last.

        Raises:
            Refused: the state or the generation does not allow it.
            BlkcoloError: the journal could not be written: nothing happened.
        """
        self._check_generation(generation, may_be_newer=True)
        if stopped_already(self.state, mode):
            check_target(self.group, epoch, [self.shown])
            if generation > self.generation:
                self.journal.update(generation=generation)
            return
        kept = [checkpoint.epoch for checkpoint in self.checkpoints]
        failover = mode is StopMode.FAILOVER
        discarded = self.journal.state.discarded
        plan = plan_stop(self.group, self.state, mode, kept, epoch, discarded=discarded)
        if failover:
            reserve.release(self._folder, _RESERVE)
        if failover and plan.base is not None:
            track_from(self.intent, self.journal, self.buffer, plan.base)
        if self.state is ReplicaState.STOPPED or (failover and plan.base != self.shown):
            # An overlay that was given up above that checkpoint must not count again.
            self._sweep()
        carry_out(plan, self.journal, self.buffer, generation, self.newest_epoch)
        self.state, self.stream, self.failure = plan.state, None, None

    def intend(self, volume: int, offset: int, length: int) -> bool:
        """The VM is about to write; True if a new mark stands for it.

        Raises:
            OSError: the mark could not be written; the write must not happen.
        """
        if not self.tracks:
            return False
        return self.intent.mark(BEFORE_ALL_EPOCHS, volume, offset, length)

    def demote(self, generation: int, epoch: int) -> None:
        """The disk is to become a copy of the new primary's; its content is kept.

        Undo layers lead back to it until the first checkpoint of the copy. Does no
        harm when repeated.

        Args:
            generation: the new one.
            epoch: the newest epoch of the group that is known.

        Raises:
            Refused: the state or the generation does not allow it.
            BlkcoloError: the disk refused: calling again goes on.
        """
        self._check_generation(generation, may_be_newer=True)
        durable = self.journal.state
        newest = max(epoch, self.newest_epoch)
        if durable.discarded:
            self.journal.update(generation=generation, epoch=newest)
            return
        state = advance(self.group, self.state, Event.DEMOTE)
        check_demotion(self.group, self.committed, failed_over=self.tracks)
        keep_contents(self.journal, self.buffer, generation, newest)
        self.state, self.stream, self.failure = state, None, None

    @property
    def newest_epoch(self) -> int:
        """The newest epoch that anything was received in."""
        streamed = self.stream.epoch if self.stream is not None else 0
        return max(
            self.buffer.layers.newest_epoch or 0, self.journal.state.epoch, streamed
        )

    def flush_steps(self) -> Iterator[int | Sync]:
        """Brings the disk to what the stop asked for; yields bytes moved by steps.

        A Sync is to be carried out before the next step.

        Raises:
            BlkcoloError: a disk or the journal refused; calling again goes on.
        """
        failover = self.state is ReplicaState.FAILING_OVER
        yield from flush.steps(self.buffer, self.journal, failover=failover)
        self.state = advance(self.group, self.state, Event.FLUSHED)

    def take_dropped(self) -> Discarded | None:
        """Files to be removed; none while what dropped them is not durable.

        A commit may be under way while something else has dropped some, too.
        """
        return self.buffer.take_dropped() if self.journal.durable else None

    def close(self) -> None:
        """Closes the buffer and the journal; the disks are the caller's."""
        if self.journal.durable:
            self.buffer.sweep()
        self.buffer.close()
        self.journal.close()
