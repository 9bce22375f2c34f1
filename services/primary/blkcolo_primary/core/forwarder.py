"""The primary's core for one group: what a write, a barrier and a loss mean.

The order of a VM write: `intend` (its regions are marked), the local write, `wrote`.

Sans-IO: the edge (`group`) performs the local write, tells it here, and carries the
outbox to the secondary. Invariant I5: from the moment a write is not in a stream, or
a stream that holds it is lost, it is counted as unreplicated and `protected` is
False; nothing but a verified new stream and a commit in it makes it True again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from blkcolo.errors import BlkcoloError, Reason, Refused, StaleGeneration
from blkcolo.intent.file import Base
from blkcolo.intent.log import BEFORE_ALL_EPOCHS, IntentLog
from blkcolo.leaps import check_generation
from blkcolo.stream import RecordKind
from blkcolo_primary.core.comparison import Comparison, Phase
from blkcolo_primary.core.forward_state import (
    STREAMING,
    Event,
    ForwardState,
    advance,
    not_replicating,
)
from blkcolo_primary.core.outbox import Outbox
from blkcolo_primary.core.resync_plan import ResyncPlan, take_in, wanted
from blkcolo_primary.core.settler import Settler
from blkcolo_primary.core.stream_epochs import StreamEpochs
from blkcolo_primary.core.traffic import Traffic
from blkcolo_primary.core.verification import Verification
from blkcolo_primary.record import durable_state
from blkcolo_primary.record.durable_state import DurableState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blkcolo.storage.files import BlockFile, Folder
    from blkcolo.stream import Mismatch, Welcome
    from blkcolo_primary.core.verification import Finding, VerifyPass


@dataclass
class ForwarderCore:
    """One group on the primary.

    Attributes:
        group: its name.
        disks: the volumes' disks.
        folder: where generation and fence are kept.
        intent: what may differ from the last commit.
        batch_bytes: bound of a batch's payload.
        window_bytes: a resync adds nothing while so much is in flight.
        generation: the newest known one.
        state: see `forward_state`.
        outbox: the stream's queue; None without a stream.
        resync: the stream's comparison; None without a stream.
        settler: keeps what that has done; None without a stream.
        plan: what was to be compared.
        replica_id: the secondary's copy; empty before the first stream.
        epochs: the stream's epochs; None without a stream.
        failure: why the last stream was lost, or could not start.
        traffic: what went through its streams.
        verification: the verify passes.
        host: power loss is to be survived.
        settle_bytes: compared bytes that an interruption costs; None: the default.
        leaves_to_resync: a write that a running resync will find is not sent; not where
            its reply waits for the secondary.
    """

    group: str
    disks: Sequence[BlockFile]
    folder: Folder
    intent: IntentLog
    batch_bytes: int
    window_bytes: int
    generation: int = field(init=False)
    state: ForwardState = field(init=False)
    outbox: Outbox | None = None
    resync: Comparison | None = None
    settler: Settler | None = None
    plan: ResyncPlan | None = None
    replica_id: str = ""
    epochs: StreamEpochs | None = None
    failure: BlkcoloError | None = None
    traffic: Traffic = field(default_factory=Traffic)
    verification: Verification = field(default_factory=Verification)
    host: bool = False
    settle_bytes: int | None = None
    leaves_to_resync: bool = True
    _epoch: int = field(init=False)

    def __post_init__(self) -> None:
        """Goes on from what the folder says; raises DataLoss if that is damaged."""
        saved = durable_state.load(self.folder, self.group)
        self.generation = saved.generation
        self._epoch = saved.epoch
        self.state = ForwardState.FENCED if saved.fenced else ForwardState.IDLE

    def _remember(self, generation: int, *, fenced: bool) -> None:
        """Holds, whatever dies, when this returns; raises BlkcoloError."""
        state = DurableState(generation, fenced, self.epoch)
        durable_state.save(self.folder, self.group, state)

    # What it is.

    @property
    def committed(self) -> int | None:
        """The newest epoch of this stream that is committed."""
        return self.epochs.committed if self.epochs is not None else None

    @property
    def protected(self) -> bool:
        """True while every write is forwarded above a checkpoint of this stream."""
        return self.state is ForwardState.REPLICATING and self.committed is not None

    @property
    def cut_off(self) -> bool:
        """True from the loss of a stream until the next one stands."""
        lost = (ForwardState.LOST, ForwardState.CONNECTING)
        return self.state in lost and self.failure is not None

    @property
    def congested(self) -> bool:
        """True while a VM write would have to wait for the secondary."""
        outbox = self.outbox
        if outbox is None:
            return False
        return outbox.in_flight_bytes >= self.window_bytes or self.buffer_full

    @property
    def buffer_full(self) -> bool:
        """True while the secondary asks to hold VM writes up."""
        if self.outbox is None or not self.outbox.buffer_full:
            return False
        return self.state is ForwardState.REPLICATING

    @property
    def epoch(self) -> int:
        """The epoch that VM writes belong to; without a stream, the last known one."""
        return self.outbox.epoch if self.outbox is not None else self._epoch

    @property
    def in_flight_bytes(self) -> int:
        """Bytes in the window."""
        return self.outbox.in_flight_bytes if self.outbox is not None else 0

    def check_generation(self, generation: int, *, may_be_newer: bool) -> None:
        """Refuses a caller of another generation; see `leaps.check_generation`."""
        brought_by = None if may_be_newer else "a start, a stop or a fence"
        check_generation(self.group, generation, self.generation, brought_by=brought_by)

    # The stream.

    def start(self, generation: int) -> None:
        """A stream is being opened.

        Raises:
            Refused: not in this state, or fenced in this generation.
            BlkcoloError: the generation could not be stored: nothing happened.
        """
        self.check_generation(generation, may_be_newer=True)
        if self.state is ForwardState.FENCED and generation <= self.generation:
            raise Refused(
                Reason.FENCED,
                f"group {self.group} was fenced in generation {self.generation}:"
                " its secondary was, or was to be, failed over; starting it again"
                " needs a newer generation",
            )
        state = advance(self.group, self.state, Event.START)
        durable_state.set_room_aside(self.folder, self.group)
        self._remember(generation, fenced=False)
        self.state, self.generation = state, generation

    def welcome(self, welcome: Welcome) -> None:
        """The stream stands: from here on every write goes into it.

        Raises:
            Refused: another generation is in force on the secondary.
            OSError: the intent log could not be written.
        """
        self.plan = take_in(self.group, self.intent, self.generation, welcome)
        self.state = advance(self.group, self.state, Event.WELCOME)
        self.failure = None
        self.outbox = Outbox(welcome.epoch, self.batch_bytes)
        self.replica_id = welcome.replica_id
        self.epochs = StreamEpochs(self.group, self.outbox)
        extents = wanted(self.plan, self.intent, welcome)
        self.resync = Comparison(
            self.outbox, self.disks, extents, self.window_bytes // 2
        )
        self.traffic.begin(self.plan, self.outbox, self.resync)
        self.settler = Settler(
            self.intent,
            self.resync,
            self.outbox,
            host=self.host,
            portion=self.settle_bytes,
        )

    def resync_step(self) -> bool:
        """Goes on with the resync; False if the secondary must answer first.

        Raises:
            OSError: a disk could not be read, or the intent log not written.
        """
        if self.state is not ForwardState.RESYNCING:
            return False
        if self.resync is None or self.settler is None:
            return False
        self.settler.step()
        stepped = self.resync.step()
        if self.resync.phase is Phase.DONE:
            self.state = advance(self.group, self.state, Event.RESYNCED)
        return stepped

    def start_verify(self, *, scrub: bool) -> VerifyPass:
        """Starts to compare everything, in stream order.

        Raises:
            Refused: not replicating.
        """
        if self.outbox is None or self.state is not ForwardState.REPLICATING:
            raise self._not_replicating(0)
        window = self.window_bytes // 2
        return self.verification.start(self.outbox, self.disks, window, scrub=scrub)

    def verify_step(self) -> bool:
        """Goes on with the verify; as `resync_step`."""
        return self.verification.step(self.epoch)

    def mismatch(self, mismatch: Mismatch) -> list[Finding]:
        """Sends again what differs; returns what a verify found.

        Raises:
            OSError: a disk could not be read, or the intent log not written.
        """
        if self.state is ForwardState.RESYNCING and self.resync is not None:
            self.resync.repair(mismatch)
            return []
        return self.verification.repair(mismatch, self.intend)

    def lose(self, error: BlkcoloError) -> None:
        """The stream is gone; what it held and was not applied is unreplicated.

        A primary that is told that it is stale takes no VM write from here on.
        """
        if self.state is not ForwardState.CONNECTING and self.state not in STREAMING:
            return
        self.failure = error
        if not isinstance(error, StaleGeneration):
            self._end_stream(advance(self.group, self.state, Event.LOSE))
            return
        self._end_stream(advance(self.group, self.state, Event.FENCE))
        try:
            self._remember(self.generation, fenced=True)
        except BlkcoloError as unstored:  # it holds in this process
            self.failure = unstored

    def stop(self, generation: int) -> None:
        """Forwarding ends by request.

        Raises:
            BlkcoloError: the generation could not be stored: nothing happened.
        """
        self.check_generation(generation, may_be_newer=True)
        state = advance(self.group, self.state, Event.STOP)
        self._remember(generation, fenced=False)
        self._end_stream(state)
        self.generation, self.failure = generation, None

    def fence(self, generation: int) -> None:
        """A newer generation exists: no VM write is accepted from here on.

        Raises:
            StaleGeneration: the fence itself is not newer.
            BlkcoloError: it could not be stored: it holds in this process only.
        """
        self.check_generation(generation, may_be_newer=True)
        fenced = self.state is ForwardState.FENCED
        if generation == self.generation and not fenced:
            raise StaleGeneration.of(self.group, generation, self.generation)
        self._end_stream(advance(self.group, self.state, Event.FENCE))
        self.generation = generation
        durable_state.give_room_back(self.folder, self.group)
        self._remember(generation, fenced=True)

    def _end_stream(self, state: ForwardState) -> None:
        self.state = state
        self.verification.end(self.failure or self._not_replicating(0))
        if self.outbox is None:
            return
        self.traffic.end()
        self.epochs = self.resync = self.settler = None
        self.intent.settled.abandon()
        self._epoch = self.outbox.epoch
        self.outbox = None

    # Writes.

    def intend(self, volume: int, offset: int, length: int) -> bool:
        """A local write is about to be done; True if a new mark stands for it.

        Raises:
            OSError: the mark could not be written; the write must not happen.
        """
        return self.intent.mark(self._marks_epoch, volume, offset, length)

    def wrote(self, volume: int, offset: int, data: memoryview) -> int | None:
        """A local write is done; returns the seq that covers it, if any does."""
        if self.outbox is None:
            self._unreplicated(len(data))
            return None
        if self._left_to_resync(volume, offset, len(data)):
            return None
        return self.outbox.data(volume, offset, data)

    @property
    def takes_each(self) -> bool:
        """True where writes need no look at each one; see `wrote_each`."""
        return self.state not in (ForwardState.FENCED, ForwardState.RESYNCING)

    def intend_each(self, volume: int, offsets: Sequence[int], length: int) -> None:
        """As `intend`, of writes of one length."""
        self.intent.mark_each(self._marks_epoch, volume, offsets, length)

    @property
    def _marks_epoch(self) -> int:
        """The epoch whose commit makes a mark superfluous."""
        return self.epoch if self.replica_id else BEFORE_ALL_EPOCHS

    def wrote_each(
        self, volume: int, offsets: Sequence[int], pieces: Sequence[memoryview]
    ) -> None:
        """As `wrote`, of writes of one length."""
        if self.outbox is None:
            self._unreplicated(sum(map(len, pieces)))
        else:
            self.outbox.data_each(volume, offsets, pieces)

    def zeroed(
        self, volume: int, offset: int, length: int, *, trim: bool
    ) -> int | None:
        """A local zero or trim is done; returns the seq that covers it, if any."""
        if self.outbox is None:
            self._unreplicated(length)
            return None
        if self._left_to_resync(volume, offset, length):
            return None
        kind = RecordKind.TRIM if trim else RecordKind.ZERO
        return self.outbox.zero(volume, offset, length, kind)

    def _left_to_resync(self, volume: int, offset: int, length: int) -> bool:
        """True if the resync will find the write; see `comparison`."""
        if self.state is not ForwardState.RESYNCING or not self.leaves_to_resync:
            return False
        if self.resync is None or not self.resync.is_ahead(volume, offset, length):
            return False
        self.traffic.left_to_resync(length)
        return True

    def _unreplicated(self, length: int) -> None:
        """Counts bytes that no stream carries, once there was one to carry them."""
        if self.state in (ForwardState.LOST, ForwardState.CONNECTING):
            self.traffic.unreplicated_bytes += length

    # Checkpoints.

    @property
    def unchanged(self) -> bool:
        """True if it replicates, and nothing was written since the last barrier."""
        outbox = self.outbox
        replicating = self.state is ForwardState.REPLICATING
        return replicating and outbox is not None and not outbox.records

    def nothing_after(self, epoch: int) -> bool:
        """True if the stream stands, and holds nothing after this epoch's barrier."""
        return self.unchanged and self.epoch == epoch + 1

    def prepare(self, epoch: int, generation: int) -> int:
        """Puts the barrier of the current epoch into the stream; returns its seq.

        Answers the same for the epoch that was ended last.

        Raises:
            Refused: not replicating, or another epoch is due.
        """
        self.check_generation(generation, may_be_newer=False)
        if self.epochs is None or self.state is not ForwardState.REPLICATING:
            raise self._not_replicating(epoch)
        seq = self.epochs.barrier_of(epoch)
        if seq is None:
            seq = self.epochs.end(epoch)
            self.traffic.start_epoch()
        return seq

    def _not_replicating(self, epoch: int) -> Refused:
        return not_replicating(self.group, self.state, self.failure, epoch)

    def do_checkpoint(self, epoch: int, generation: int) -> int:
        """Learns that `epoch` is committed; returns the newest committed one.

        One of an earlier stream says nothing of this one's writes: nothing changes.

        Raises:
            Refused: there is no stream, or the epoch was not ended in it.
        """
        self.check_generation(generation, may_be_newer=False)
        if self.epochs is None:
            raise self._not_replicating(epoch)
        if self.epochs.commit(epoch):
            self.verification.committed(epoch)
            self.intent.committed(epoch, Base(self.replica_id, epoch))
        return epoch if self.committed is None else self.committed
