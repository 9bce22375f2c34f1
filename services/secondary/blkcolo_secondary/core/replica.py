"""The secondary's core for one group: what it is made of, and how its replication ends.

Its two other sides have rooms of their own: `reception`, what the primary sends, and
`checkpoints`, what failover leads to. All three stand on one journal, one Disk Buffer
and one `standing`.

Sans-IO: no clock, no task, no socket; files come in through the `files` port and
time as an argument. The edge (`runtime`) hands in messages in order and runs the step
generators; every method leaves the invariants of `disk_buffer` true when it returns
or raises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blkcolo.errors import Reason, Refused
from blkcolo.intent.log import BEFORE_ALL_EPOCHS
from blkcolo_secondary.core import flush
from blkcolo_secondary.core.after_start import open_buffer
from blkcolo_secondary.core.checkpoints import Checkpoints
from blkcolo_secondary.core.dropped_files import DroppedFiles
from blkcolo_secondary.core.reception import Reception
from blkcolo_secondary.core.replica_state import FLUSHES, TRACKS, Event, ReplicaState
from blkcolo_secondary.core.standing import Standing
from blkcolo_secondary.core.stop_plan import (
    StopMode,
    carry_out,
    check_target,
    plan_stop,
    stopped_already,
)
from blkcolo_secondary.core.survivor import check_demotion, keep_contents, track_from
from blkcolo_secondary.core.watch import ReplicaNow, due
from blkcolo_secondary.record.group_journal import GroupJournal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from blkcolo.errors import BlkcoloError
    from blkcolo.intent.log import IntentLog
    from blkcolo.storage.files import BlockFile, Folder
    from blkcolo.storage.records import Progress
    from blkcolo.stream import VolumeId
    from blkcolo_secondary.buffer.save_and_write import Sync
    from blkcolo_secondary.core.replica_options import ReplicaOptions
    from blkcolo_secondary.core.watch import ReplicaWatch


class Replica:
    """One group on the secondary.

    Attributes:
        group: its name.
        volumes: its volumes.
        options: see ReplicaOptions.
        intent: where the disk differs from a checkpoint.
        journal: what it must remember.
        buffer: its Disk Buffer.
        dropped: files that the buffer dropped.
        standing: its state, and why it cannot go on.
        reception: the stream.
        checkpoints: what may be committed, what is, and what is kept.
    """

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
        host = options.host_durable
        self.journal = GroupJournal(folder, host=host)
        durable = self.journal.state
        self.buffer = open_buffer(durable, volumes, disks, folder, host, progress)
        self.dropped = DroppedFiles(self.journal, self.buffer)
        self.standing = Standing(group, self.journal)
        self.reception = Reception(
            self.standing,
            self.journal,
            self.buffer,
            intent,
            self.dropped,
            new_id,
            options,
        )
        self.checkpoints = Checkpoints(
            self.standing,
            self.reception,
            self.journal,
            self.buffer,
            intent,
            options.history,
        )

    # What it is.

    @property
    def state(self) -> ReplicaState:
        """The state in force."""
        return self.standing.state

    @property
    def failure(self) -> BlkcoloError | None:
        """Why the stream faulted or the flush paused; None where neither did."""
        return self.standing.failure

    @property
    def generation(self) -> int:
        """The newest known generation."""
        return self.journal.state.generation

    def due(self, watch: ReplicaWatch) -> bool:
        """True if a look that waits for this is to be answered."""
        now = ReplicaNow(
            self.state is ReplicaState.RECEIVING,
            self.generation,
            self.buffer.buffer_bytes,
            self.buffer.overlays.bytes_held,
        )
        return due(watch, now)

    @property
    def shown(self) -> int | None:
        """The checkpoint in the view: the committed one, or a failover's target."""
        return self.buffer.base

    @property
    def tracks(self) -> bool:
        """True where the VM's writes are marked: it was failed over."""
        return self.standing.state in TRACKS

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
        return self.standing.state in FLUSHES

    def check_growth(self, generation: int) -> None:
        """Raises Refused where a volume cannot grow now."""
        self.standing.check_generation(generation, may_be_newer=False)
        if self.flushing or self.state is ReplicaState.FAILED_OVER:
            raise Refused(
                Reason.WRONG_STATE,
                f"group {self.group} is {self.state.name}: a volume grows while it"
                " replicates, or is stopped",
            )

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
        self.standing.check_generation(generation, may_be_newer=True)
        if stopped_already(self.state, mode):
            check_target(self.group, epoch, [self.shown])
            if generation > self.generation:
                self.journal.update(generation=generation)
            return
        kept = [checkpoint.epoch for checkpoint in self.checkpoints.available]
        failover = mode is StopMode.FAILOVER
        discarded = self.journal.state.discarded
        plan = plan_stop(self.group, self.state, mode, kept, epoch, discarded=discarded)
        if failover:
            self.journal.give_room_back()
        if failover and plan.base is not None:
            track_from(self.intent, self.journal, self.buffer, plan.base)
        if self.state is ReplicaState.STOPPED or (failover and plan.base != self.shown):
            # An overlay that was given up above that checkpoint must not count again.
            self.dropped.sweep()
        newest = self.reception.newest_epoch
        carry_out(plan, self.journal, self.buffer, generation, newest)
        self.reception.give_up()
        self.standing.enter(plan.state)

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
        self.standing.check_generation(generation, may_be_newer=True)
        durable = self.journal.state
        newest = max(epoch, self.reception.newest_epoch)
        if durable.discarded:
            self.journal.update(generation=generation, epoch=newest)
            return
        state = self.standing.after(Event.DEMOTE)
        check_demotion(self.group, durable.failover_epoch, failed_over=self.tracks)
        keep_contents(self.journal, self.buffer, generation, newest)
        self.reception.give_up()
        self.standing.enter(state)

    def flush_steps(self) -> Iterator[int | Sync]:
        """Brings the disk to what the stop asked for; yields bytes moved by steps.

        A Sync is to be carried out before the next step.

        Raises:
            BlkcoloError: a disk or the journal refused; calling again goes on.
        """
        failover = self.state is ReplicaState.FAILING_OVER
        yield from flush.steps(self.buffer, self.journal, failover=failover)
        self.standing.enter(self.standing.after(Event.FLUSHED))

    def close(self) -> None:
        """Closes the buffer and the journal; the disks are the caller's."""
        self.dropped.sweep_at_end()
        self.buffer.close()
        self.journal.close()
