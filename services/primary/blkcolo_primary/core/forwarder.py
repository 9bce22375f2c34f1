"""The primary's core for one group: what begins its stream, and what ends it.

What a VM's write means has a room of its own (`write_through`), and so has the stream
that stands (`forward_stream`); both sides look at one `standing`.

Sans-IO: the edge performs the local write, tells it to `writes`, and carries the outbox
to the secondary. Invariant I5: from the moment a write is not in a stream, or a stream
that holds it is lost, it is counted as unreplicated and `protected` is False; nothing
but a verified new stream and a commit in it makes it True again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from blkcolo.errors import BlkcoloError, Reason, Refused, StaleGeneration
from blkcolo.intent.file import Base
from blkcolo_primary.core.forward_state import STREAMING, Event, ForwardState
from blkcolo_primary.core.forward_stream import ForwardStream
from blkcolo_primary.core.resync_plan import ResyncPlan, take_in, wanted
from blkcolo_primary.core.standing import Standing
from blkcolo_primary.core.traffic import Traffic
from blkcolo_primary.core.verification import Verification
from blkcolo_primary.core.watch import ForwardNow, due
from blkcolo_primary.core.write_through import WriteThrough
from blkcolo_primary.record import durable_state

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blkcolo.intent.log import IntentLog
    from blkcolo.storage.files import BlockFile, Folder
    from blkcolo.stream import Mismatch, Welcome
    from blkcolo_primary.core.verification import Finding, VerifyPass
    from blkcolo_primary.core.watch import ForwardWatch
    from blkcolo_primary.core.window import Window


@dataclass
class ForwarderCore:
    """One group on the primary.

    Attributes:
        group: its name.
        disks: the volumes' disks.
        folder: where generation and fence are kept.
        intent: what may differ from the last commit.
        batch_bytes: bound of a batch's payload.
        window: what may be in flight; a comparison fills half of it.
        host: power loss is to be survived.
        settle_bytes: compared bytes that an interruption costs; None: the default.
        leaves_to_resync: a write that a running resync will find is not sent; not where
            its reply waits for the secondary.
        first_stop_mark: see `Standing`; one that no other life of the group had.
        plan: what was to be compared in the newest stream; None before the first.
        traffic: what went through its streams.
        verification: the verify passes.
        standing: its state, its generation, and its stream.
        writes: the VM's writes.
    """

    group: str
    disks: Sequence[BlockFile]
    folder: Folder
    intent: IntentLog
    batch_bytes: int
    window: Window
    host: bool = False
    settle_bytes: int | None = None
    leaves_to_resync: bool = True
    first_stop_mark: int = 1
    plan: ResyncPlan | None = None
    traffic: Traffic = field(default_factory=Traffic)
    verification: Verification = field(default_factory=Verification)
    standing: Standing = field(init=False)
    writes: WriteThrough = field(init=False)

    def __post_init__(self) -> None:
        """Goes on from what the folder says; raises DataLoss if that is damaged."""
        self.standing = Standing(self.group, self.folder, self.first_stop_mark)
        self.writes = WriteThrough(
            self.standing,
            self.intent,
            self.traffic,
            self.window,
            leaves_to_resync=self.leaves_to_resync,
        )

    # What it is.

    @property
    def state(self) -> ForwardState:
        """The state in force."""
        return self.standing.state

    @property
    def generation(self) -> int:
        """The newest known generation."""
        return self.standing.generation

    @property
    def epoch(self) -> int:
        """The epoch that VM writes belong to; without a stream, the last known one."""
        return self.standing.epoch

    @property
    def stream(self) -> ForwardStream | None:
        """The stream that stands."""
        return self.standing.stream

    @property
    def failure(self) -> BlkcoloError | None:
        """Why the last stream was lost, or could not start."""
        return self.standing.failure

    @property
    def protected(self) -> bool:
        """True while every write is forwarded above a checkpoint of this stream."""
        stream = self.standing.replicating
        return stream is not None and stream.epochs.committed is not None

    @property
    def unchanged(self) -> bool:
        """True if it replicates, and nothing was written since the last barrier."""
        stream = self.standing.replicating
        return stream is not None and not stream.outbox.records

    def due(self, watch: ForwardWatch) -> bool:
        """True if a look that waits for this is to be answered."""
        stream = self.standing.replicating
        now = ForwardNow(
            stream is not None,
            self.generation,
            self.epoch,
            self.traffic.sent_bytes_in_epoch,
            stream.outbox.records if stream is not None else 0,
        )
        return due(watch, now)

    def nothing_after(self, epoch: int) -> bool:
        """True if the stream stands, and holds nothing after this epoch's barrier."""
        return self.unchanged and self.epoch == epoch + 1

    @property
    def in_flight_bytes(self) -> int:
        """Bytes in the window."""
        stream = self.standing.stream
        return stream.outbox.in_flight_bytes if stream is not None else 0

    @property
    def in_flight_writes(self) -> int:
        """Writes, zeros and trims in the window."""
        stream = self.standing.stream
        return stream.outbox.in_flight_writes if stream is not None else 0

    # The stream begins.

    def start(self, generation: int, stop_mark: int = 0) -> None:
        """A stream is being opened.

        Args:
            generation: the caller's.
            stop_mark: the one that the caller saw before it decided; 0: none.

        Raises:
            Refused: not in this state, fenced in this generation, or stopped since.
            BlkcoloError: the generation could not be stored: nothing happened.
        """
        standing = self.standing
        standing.check_generation(generation, may_be_newer=True)
        standing.check_stop_mark(stop_mark)
        fenced = standing.state is ForwardState.FENCED
        if fenced and generation <= standing.generation:
            raise Refused(
                Reason.FENCED,
                f"group {self.group} was fenced in generation {standing.generation}:"
                " its secondary was, or was to be, failed over; starting it again"
                " needs a newer generation",
            )
        state = standing.after(Event.START)
        durable_state.set_room_aside(self.folder, self.group)
        standing.remember(generation, fenced=False)
        standing.state, standing.generation = state, generation

    def welcome(self, welcome: Welcome) -> None:
        """The stream stands: from here on every write goes into it.

        Raises:
            Refused: another generation is in force on the secondary.
            OSError: the intent log could not be written.
        """
        standing = self.standing
        self.plan = take_in(self.group, self.intent, standing.generation, welcome)
        standing.state = standing.after(Event.WELCOME)
        standing.failure, standing.replica_id = None, welcome.replica_id
        stream = standing.stream = ForwardStream(
            self.group,
            welcome.epoch,
            wanted(self.plan, self.intent, welcome),
            self.disks,
            self.intent,
            batch_bytes=self.batch_bytes,
            comparison_window=self.window.half,
            host=self.host,
            settle_bytes=self.settle_bytes,
        )
        self.traffic.begin(self.plan, stream.outbox, stream.resync)

    # Both sides are compared.

    def resync_step(self) -> bool:
        """Goes on with the resync; False if the secondary must answer first.

        Raises:
            OSError: a disk could not be read, or the intent log not written.
        """
        stream = self.standing.resyncing
        if stream is None:
            return False
        stepped = stream.resync_step()
        if stream.agreed:
            self.standing.state = self.standing.after(Event.RESYNCED)
        return stepped

    def start_verify(self, *, scrub: bool) -> VerifyPass:
        """Starts to compare everything, in stream order.

        Raises:
            Refused: not replicating.
        """
        stream = self.standing.replicating
        if stream is None:
            raise self.standing.not_replicating()
        window = self.window.half
        return self.verification.start(stream.outbox, self.disks, window, scrub=scrub)

    def verify_step(self) -> bool:
        """Goes on with the verify; as `resync_step`."""
        return self.verification.step(self.epoch)

    def mismatch(self, mismatch: Mismatch) -> list[Finding]:
        """Sends again what differs; returns what a verify found.

        Raises:
            OSError: a disk could not be read, or the intent log not written.
        """
        resyncing = self.standing.resyncing
        if resyncing is not None:
            resyncing.resync.repair(mismatch)
            return []
        return self.verification.repair(mismatch, self.writes.intend)

    # Checkpoints.

    def prepare(self, epoch: int, generation: int) -> int:
        """Puts the barrier of the current epoch into the stream; returns its seq.

        Answers the same for the epoch that was ended last.

        Raises:
            Refused: not replicating, or another epoch is due.
        """
        self.standing.check_generation(generation, may_be_newer=False)
        stream = self.standing.replicating
        if stream is None:
            raise self.standing.not_replicating(epoch)
        seq = stream.epochs.barrier_of(epoch)
        if seq is None:
            seq = stream.epochs.end(epoch)
            self.traffic.start_epoch()
        return seq

    def do_checkpoint(self, epoch: int, generation: int) -> int:
        """Learns that `epoch` is committed; returns the newest committed one.

        One of an earlier stream says nothing of this one's writes: nothing changes.

        Raises:
            Refused: there is no stream, or the epoch was not ended in it.
        """
        standing = self.standing
        standing.check_generation(generation, may_be_newer=False)
        if standing.stream is None:
            raise standing.not_replicating(epoch)
        epochs = standing.stream.epochs
        if epochs.commit(epoch):
            self.verification.committed(epoch)
            self.intent.committed(epoch, Base(standing.replica_id, epoch))
        return epoch if epochs.committed is None else epochs.committed

    # The stream ends.

    def lose(self, error: BlkcoloError) -> None:
        """The stream is gone; what it held and was not applied is unreplicated.

        A primary that is told that it is stale takes no VM write from here on.
        """
        standing = self.standing
        if standing.state not in STREAMING | {ForwardState.CONNECTING}:
            return
        standing.failure = error
        if not isinstance(error, StaleGeneration):
            self._end_stream(standing.after(Event.LOSE))
            return
        self._end_stream(standing.after(Event.FENCE))
        try:
            standing.remember(standing.generation, fenced=True)
        except BlkcoloError as unstored:  # it holds in this process
            standing.failure = unstored

    def stop(self, generation: int) -> None:
        """Forwarding ends by request.

        Raises:
            BlkcoloError: the generation could not be stored: nothing happened.
        """
        standing = self.standing
        standing.check_generation(generation, may_be_newer=True)
        state = standing.after(Event.STOP)
        standing.remember(generation, fenced=False)
        self._end_stream(state)
        standing.generation, standing.failure = generation, None
        standing.stop_mark += 1

    def fence(self, generation: int) -> None:
        """A newer generation exists: no VM write is accepted from here on.

        Raises:
            StaleGeneration: the fence itself is not newer.
            BlkcoloError: it could not be stored: it holds in this process only.
        """
        standing = self.standing
        standing.check_generation(generation, may_be_newer=True)
        fenced = standing.state is ForwardState.FENCED
        if generation == standing.generation and not fenced:
            raise StaleGeneration.of(self.group, generation, standing.generation)
        self._end_stream(standing.after(Event.FENCE))
        standing.generation = generation
        durable_state.give_room_back(self.folder, self.group)
        standing.remember(generation, fenced=True)

    def _end_stream(self, state: ForwardState) -> None:
        self.standing.state = state
        self.verification.end(self.failure or self.standing.not_replicating())
        if self.standing.stream is None:
            return
        self.traffic.end()
        self.intent.settled.abandon()
        self.standing.end_stream()
