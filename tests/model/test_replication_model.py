"""The three cores in memory against a plain model: a few bytearrays.

The model knows what the primary disk holds, what it held at each barrier, and what
the Secondary VM wrote. After every step it checks I1 (the view, and every kept
checkpoint), I3 (committed never goes back) and I5 (no lost write behind a successful
prepare); failover, to any kept checkpoint, checks I2. Every reconnect must resync.

A failing run prints the steps; rerun alone:
    pytest tests/model/test_replication_model.py
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from blkcolo.errors import (
    BlkcoloError,
    DataLoss,
    DeadlineMissed,
    Reason,
    StaleGeneration,
    Unavailable,
)
from blkcolo.extents import BLOCK_SIZE
from blkcolo.intent.log import IntentLog
from blkcolo.stream import Flush, Hello, Mismatch, VolumeId, Welcome
from blkcolo_coordinator.runs.checkpoint_run import CheckpointRun, Outcome, Step
from blkcolo_coordinator.runs.failover_run import FailoverRun
from blkcolo_primary.core import intent_bits
from blkcolo_primary.core.forward_state import ForwardState
from blkcolo_primary.core.forwarder import ForwarderCore
from blkcolo_primary.core.resync_plan import ResyncPlan
from blkcolo_primary.core.window import Window
from blkcolo_secondary.buffer.save_and_write import Sync
from blkcolo_secondary.core.replica import Replica
from blkcolo_secondary.core.replica_options import ReplicaOptions
from blkcolo_secondary.core.replica_state import ReplicaState
from blkcolo_secondary.core.stop_plan import StopMode
from blkcolo_secondary.record.history import HistoryPolicy
from tests.memory_files import MemoryFile, MemoryFolder

if TYPE_CHECKING:
    from blkcolo_secondary.stream.receiver import Receiver

#: Sizes that are no multiple of anything.
SIZES = (7 * BLOCK_SIZE + 512, 5 * BLOCK_SIZE + 1)
VOLUMES = tuple(VolumeId(f"disk{i}", f"uuid{i}", s) for i, s in enumerate(SIZES))

volumes = st.integers(0, len(SIZES) - 1)
fractions = st.floats(0, 1, exclude_max=True)
lengths = st.one_of(st.integers(1, 600), st.integers(1, 3 * BLOCK_SIZE))
fills = st.integers(0, 255)
#: After how many steps a resync is cut; mostly it is not.
interruptions = st.one_of(st.none(), st.none(), st.integers(0, 12))
#: With the effects of host durability, which must not change what is seen.
HOST = True


class Replication(RuleBasedStateMachine):
    """Primary core, secondary core, a stream between them, and the model."""

    def __init__(self) -> None:
        super().__init__()
        self._fresh_pair()

    def _fresh_pair(self) -> None:
        self.primary_disks = [MemoryFile(size) for size in SIZES]
        self.secondary_disks = [MemoryFile(size) for size in SIZES]
        self.folder = MemoryFolder()
        self.primary_folder = MemoryFolder()
        self.copies = 0
        self.primary = self._new_primary()
        self.replica = self._new_replica()
        self.stream: Receiver | None = None
        self.generation = 1
        # The model.
        self.at_barrier: dict[int, list[bytes]] = {}
        self.view: list[bytearray] | None = None
        self.last_committed_content: list[bytes] = []
        self.kept: dict[int, list[bytes]] = {}
        self.committed = -1
        self.prepared: set[int] = set()
        self.clock = 0.0
        #: Volume and block of a byte that rotted and is not repaired yet.
        self.rotten: tuple[int, int] | None = None

    def _new_replica(self) -> Replica:
        return Replica(
            "vm",
            VOLUMES,
            self.secondary_disks,
            self.folder,
            IntentLog(self.folder, "vm", SIZES, BLOCK_SIZE),
            self._new_copy,
            ReplicaOptions(
                host_durable=HOST, history=HistoryPolicy(keep=2), reserve_bytes=4096
            ),
        )

    def _new_copy(self) -> str:
        self.copies += 1
        return f"copy {self.copies}"

    def _new_primary(self) -> ForwarderCore:
        intent = IntentLog(self.primary_folder, "vm", SIZES, BLOCK_SIZE)
        return ForwarderCore(
            "vm",
            self.primary_disks,
            self.primary_folder,
            intent,
            batch_bytes=3 * BLOCK_SIZE,
            window=Window(64 * BLOCK_SIZE, 64),
            host=HOST,
            settle_bytes=2 * BLOCK_SIZE,
        )

    # Steps of the system.

    @initialize(protected=st.integers(0, 5))
    def start(self, protected: int) -> None:
        """Mostly with checkpoint 0, as a coordinator takes it at once."""
        self._connect()
        if protected:
            self._checkpoint()

    def _checkpoint(self, fails_at: Step | None = None) -> None:
        """The coordinator's core drives both sides; one call may go wrong."""
        lost = DeadlineMissed(Reason.DEADLINE, "lost on the way")
        run = CheckpointRun(self.primary.epoch, self.generation)
        before = self.committed
        while run.step is not None:
            step = run.step
            if step is fails_at and step is not Step.DO_SECONDARY:
                run.failed(0.0, lost)
                continue
            seq = self._carry_out(run, step)
            if step is fails_at:  # it was done, and nobody heard the answer
                fails_at = None
                run.failed(0.0, lost)
            else:
                run.succeeded(0.0, seq)
        if fails_at in (Step.PREPARE_PRIMARY, Step.PREPARE_SECONDARY):
            assert run.outcome is Outcome.ABORTED
            assert self.committed == before
        else:
            assert run.outcome is Outcome.COMMITTED
            assert self.committed == run.epoch

    def _carry_out(self, run: CheckpointRun, step: Step) -> int:
        match step:
            case Step.PREPARE_PRIMARY:
                return self._prepare_primary()
            case Step.PREPARE_SECONDARY:
                while self._deliver_one():
                    pass
                assert (
                    self.replica.checkpoints.prepared(run.epoch, self.generation)
                    is not None
                )
                self.prepared.add(run.epoch)
            case Step.DO_SECONDARY:
                self._commit(run.epoch)
            case Step.DO_PRIMARY:
                self.primary.do_checkpoint(run.epoch, self.generation)
                assert self.primary.protected
        return 0

    @precondition(lambda self: self.primary.state is ForwardState.REPLICATING)
    @rule(fails_at=st.sampled_from([None, None, None, *Step]))
    def coordinator_takes_a_checkpoint(self, fails_at: Step | None) -> None:
        self._checkpoint(fails_at)

    def _connect(self, interrupt_after: int | None = None) -> None:
        """Connects and resyncs; with `interrupt_after`, only so many steps of it."""
        self.primary.start(self.generation)
        welcome: Welcome = self.replica.reception.hello(
            Hello("vm", self.generation, VOLUMES)
        )
        self.stream = self.replica.reception.stream
        self.primary.welcome(welcome)
        self.prepared = set()
        steps = 0
        while self.primary.state is ForwardState.RESYNCING:
            if steps == interrupt_after:
                return
            stands = self.primary.stream
            if stands is not None and stands.settler.needs_sync:
                stands.settler.disks_synced()
            stepped = self.primary.resync_step()
            delivered = self._deliver_one()
            finished = self.primary.state is not ForwardState.RESYNCING
            assert stepped or delivered or finished, "the resync hangs"
            steps += 1
        for mine, theirs in zip(self.primary_disks, self.secondary_disks, strict=True):
            while self._deliver_one():
                pass
            assert mine.content == theirs.content, "a resync left a difference"

    def _extent(self, volume: int, at: float, length: int) -> tuple[int, int]:
        offset = int(at * SIZES[volume])
        return offset, min(length, SIZES[volume] - offset)

    @rule(
        writes=st.lists(st.tuples(volumes, fractions, lengths, fills), max_size=8),
        deliver=st.integers(0, 8),
    )
    def primary_writes(
        self, writes: list[tuple[int, float, int, int]], deliver: int
    ) -> None:
        for volume, at, wanted, fill in writes:
            offset, length = self._extent(volume, at, wanted)
            data = bytes([fill]) * length
            self.primary.writes.intend(volume, offset, length)
            self.primary_disks[volume].write(offset, data)
            self.primary.writes.wrote(volume, offset, memoryview(data))
        for _ in range(deliver):
            self._deliver_one()

    @rule(volume=volumes, at=fractions, length=lengths, trim=st.booleans())
    def primary_zeroes(self, volume: int, at: float, length: int, trim: bool) -> None:
        offset, length = self._extent(volume, at, length)
        self.primary.writes.intend(volume, offset, length)
        self.primary_disks[volume].zero(offset, length, may_trim=trim)
        self.primary.writes.zeroed(volume, offset, length, trim=trim)

    @precondition(lambda self: self.view is not None)
    @rule(volume=volumes, at=fractions, length=lengths, fill=fills)
    def secondary_vm_writes(
        self, volume: int, at: float, length: int, fill: int
    ) -> None:
        offset, length = self._extent(volume, at, length)
        data = bytes([fill]) * length
        self.replica.buffer.write(volume, offset, memoryview(data))
        assert self.view is not None
        self.view[volume][offset : offset + length] = data

    @precondition(lambda self: self.view is not None)
    @rule(volume=volumes, at=fractions, length=lengths)
    def secondary_vm_zeroes(self, volume: int, at: float, length: int) -> None:
        offset, length = self._extent(volume, at, length)
        self.replica.buffer.zero(volume, offset, length, may_trim=True)
        assert self.view is not None
        self.view[volume][offset : offset + length] = bytes(length)

    @precondition(lambda self: self.primary.stream is not None)
    @rule(count=st.integers(1, 4))
    def link_delivers(self, count: int) -> None:
        for _ in range(count):
            self._deliver_one()

    def _deliver_one(self) -> bool:
        stands = self.primary.stream
        if stands is None or self.stream is None:
            return False
        taken = stands.outbox.take()
        if taken is None:
            return False
        seq, message = taken
        self.stream.receive(seq)
        for answer in self.replica.reception.apply(self.stream, seq, message):
            if isinstance(answer, Mismatch):
                resumed = self.primary.plan is ResyncPlan.RESUME
                assert self.rotten is not None or not resumed
                self.primary.mismatch(answer)
            elif isinstance(answer, Sync):
                answer.run()
            self.check_view()  # I1 within a step, too
        if isinstance(message, Flush):
            self.replica.buffer.sync()
            self.stream.durable = seq
        stands.outbox.acknowledge(self.replica.reception.ack(self.stream))
        return True

    @precondition(lambda self: self.primary.state is ForwardState.REPLICATING)
    @rule(data=st.binary(min_size=1, max_size=600))
    def verify_while_the_vm_writes(self, data: bytes) -> None:
        """Writes that go on are never taken for differences."""
        started = self.primary.start_verify(scrub=False)
        while not started.ended:
            stepped = self.primary.verify_step()
            at = started.comparison.done_bytes % (SIZES[0] - len(data))
            self.primary.writes.intend(0, at, len(data))
            self.primary_disks[0].write(at, data)
            self.primary.writes.wrote(0, at, memoryview(data))
            assert self._deliver_one() or stepped, "the verify hangs"
            if self.primary.stream is not None and not stepped:
                while self._deliver_one():
                    pass
        assert started.complete
        assert started.findings == []

    @precondition(lambda self: self.primary.state is ForwardState.REPLICATING)
    @rule(
        volume=volumes,
        at=fractions,
        write_at=fractions,
        spread=st.sets(st.sampled_from(["layer", "kept layer", "overlay"])),
    )
    def verify_repairs_what_rotted(
        self, volume: int, at: float, write_at: float, spread: set[str]
    ) -> None:
        """Every checkpoint on offer is right again, before any commit if it can be."""
        while self._deliver_one():
            pass
        offset = int(at * SIZES[volume])
        block = offset // BLOCK_SIZE
        self.secondary_disks[volume].content[offset] ^= 0x55
        self.secondary_disks[volume].allocated.add(block)
        self.rotten = volume, block
        self._spread(volume, block, offset, spread)
        base = -1 if self.replica.shown is None else self.replica.shown
        saved = self.replica.buffer.layers.saved_above(base, volume)
        overlay = self.replica.buffer.overlays[volume]
        saved += [] if overlay is None else [overlay.blocks]
        started = self.primary.start_verify(scrub=False)
        try:
            while not started.ended:
                if int(write_at * SIZES[volume]) // BLOCK_SIZE != block:
                    self._write(volume, int(write_at * SIZES[volume]), b"while")
                self.primary.verify_step()
                self._deliver_one()
        except DataLoss as error:
            assert any(block in blocks for blocks in saved), "the block was not saved"
            self._lose(error)
            self._reconnect(None)
            self._checkpoint()
        else:
            assert not any(block in blocks for blocks in saved)
            assert [f.volume for f in started.findings] == [volume]
        self.rotten = None
        left = [kept.epoch for kept in self.replica.checkpoints.available]
        self.kept = {epoch: self.kept[epoch] for epoch in left}
        self.check_view()

    def _spread(self, volume: int, block: int, rotten: int, to: set[str]) -> None:
        """Writes beside the rotten byte let others take the block as it is."""
        beside = block * BLOCK_SIZE
        beside += beside == rotten
        if beside >= min(SIZES[volume], (block + 1) * BLOCK_SIZE):
            return
        if "kept layer" in to:
            self._write(volume, beside, b"k")
            self._checkpoint()
        if "layer" in to:
            self._write(volume, beside, b"l")
        while self._deliver_one():
            pass
        if "overlay" in to and self.view is not None:
            self.replica.buffer.write(volume, beside, memoryview(b"o"))
            self.view[volume][beside : beside + 1] = b"o"

    def _write(self, volume: int, offset: int, data: bytes) -> None:
        data = data[: SIZES[volume] - offset]
        self.primary.writes.intend(volume, offset, len(data))
        self.primary_disks[volume].write(offset, data)
        self.primary.writes.wrote(volume, offset, memoryview(data))

    def _lose(self, error: BlkcoloError) -> None:
        assert self.stream is not None
        self.replica.reception.ended(self.stream)
        self.primary.lose(error)

    @precondition(lambda self: self.primary.state is ForwardState.REPLICATING)
    @rule()
    def primary_prepares(self) -> None:
        self._prepare_primary()

    def _prepare_primary(self) -> int:
        epoch = self.primary.epoch
        seq = self.primary.prepare(epoch, self.generation)
        assert self.primary.prepare(epoch, self.generation) == seq  # idempotent
        assert self.primary.epoch == epoch + 1
        self.at_barrier[epoch] = [bytes(d.content) for d in self.primary_disks]
        return seq

    @precondition(lambda self: self.primary.stream is not None and self.at_barrier)
    @rule(data=st.data(), deliver=st.booleans())
    def secondary_prepares(self, data: st.DataObject, deliver: bool) -> None:
        while deliver and self._deliver_one():
            pass
        epoch = data.draw(st.sampled_from(sorted(self.at_barrier)))
        try:
            prepared = self.replica.checkpoints.prepared(epoch, self.generation)
        except BlkcoloError as error:
            if error.reason not in (Reason.EPOCH_GAP, Reason.RESYNCING):
                raise
            return
        if prepared is not None and epoch > self.committed:
            # I5: prepared means that the disk, at that barrier, was received whole.
            self.prepared.add(epoch)

    @precondition(lambda self: self.prepared)
    @rule(data=st.data())
    def coordinator_commits(self, data: st.DataObject) -> None:
        self._commit(data.draw(st.sampled_from(sorted(self.prepared))))

    def _commit(self, epoch: int) -> None:
        self.clock += 1.0
        result = self.replica.checkpoints.commit(epoch, self.generation, self.clock)
        assert result.epoch == max(epoch, self.committed)
        again = self.replica.checkpoints.commit(epoch, self.generation, self.clock)
        assert again == (result.epoch, 0)
        if epoch > self.committed:
            self.committed = epoch
            self.kept[epoch] = self.at_barrier[epoch]
            while len(self.kept) > 3:
                del self.kept[min(self.kept)]
            self.last_committed_content = self.at_barrier[epoch]
            self.view = [bytearray(content) for content in self.at_barrier[epoch]]
            if self.primary.stream is not None:
                self.primary.do_checkpoint(epoch, self.generation)
                if intent_bits.are_foreign(self.primary) or epoch % 3 == 0:
                    self.primary.intent.start_clear()
                    intent_bits.finish_clear(self.primary, durable=HOST)
        self.prepared = {e for e in self.prepared if e > self.committed}

    @invariant()
    def refusals_change_nothing(self) -> None:
        """An unprepared commit, a stale generation, a failover to nothing."""
        state = self.replica.state
        with pytest.raises(BlkcoloError) as refusal:
            self.replica.checkpoints.commit(99, self.generation, self.clock)
        assert refusal.value.reason is Reason.NOT_PREPARED
        stale = self.generation - 1
        with pytest.raises(StaleGeneration):
            self.replica.checkpoints.commit(self.committed + 1, stale, self.clock)
        with pytest.raises(StaleGeneration):
            self.replica.checkpoints.prepared(self.committed + 1, stale)
        with pytest.raises(StaleGeneration):
            self.replica.stop(StopMode.FAILOVER, stale)
        if self.view is None:
            with pytest.raises(BlkcoloError) as refusal:
                self.replica.stop(StopMode.FAILOVER, self.generation)
            assert refusal.value.reason is Reason.NO_CHECKPOINT
        assert self.replica.state is state

    @precondition(lambda self: self.primary.stream is not None)
    @rule(lost=st.booleans(), interrupt_after=interruptions)
    def link_breaks_and_returns(self, lost: bool, interrupt_after: int | None) -> None:
        """With `lost`, messages vanish: a new stream must not be trusted blindly."""
        assert self.primary.stream is not None
        outbox = self.primary.stream.outbox
        if not lost:
            while self._deliver_one():
                pass
        unreplicated = self.primary.traffic.unreplicated_bytes
        waiting = outbox.unapplied_covered_bytes
        assert self.stream is not None
        self.replica.reception.ended(self.stream)
        self.primary.lose(Unavailable(Reason.LINK_LOST, "cut"))
        assert not self.primary.protected
        assert self.primary.traffic.unreplicated_bytes == unreplicated + waiting
        self._reconnect(interrupt_after)

    def _reconnect(self, interrupt_after: int | None) -> None:
        """A resync may be cut in its middle, and is then done again."""
        self.at_barrier = {}
        self._connect(interrupt_after)
        if self.primary.state is ForwardState.RESYNCING:
            assert self.stream is not None
            self.replica.reception.ended(self.stream)
            self.primary.lose(Unavailable(Reason.LINK_LOST, "cut"))
            self._connect()

    @rule(deliver=st.integers(0, 6), interrupt_after=interruptions)
    def secondary_is_killed_and_restarts(
        self, deliver: int, interrupt_after: int | None
    ) -> None:
        """Between two steps; its memory is gone, its files are not."""
        for _ in range(deliver):
            self._deliver_one()
        self.replica = self._new_replica()
        self.check_view()
        self.primary.lose(Unavailable(Reason.LINK_LOST, "killed"))
        self._reconnect(interrupt_after)

    @rule(interrupt_after=interruptions)
    def primary_is_killed_and_restarts(self, interrupt_after: int | None) -> None:
        """What was in flight is known to the intent log alone."""
        assert self.stream is not None
        self.replica.reception.ended(self.stream)
        self.primary = self._new_primary()
        self._reconnect(interrupt_after)

    @precondition(lambda self: self.view is not None)
    @rule()
    def stop_with_rollback_then_start(self) -> None:
        assert self.view is not None
        self.primary.stop(self.generation)
        self.replica.stop(StopMode.ROLLBACK, self.generation)
        without_overlay = self.last_committed_content
        self._flush_all()
        assert self.replica.state is ReplicaState.STOPPED
        for disk, expected in zip(self.secondary_disks, without_overlay, strict=True):
            assert disk.content == expected
        self.view = [bytearray(content) for content in without_overlay]
        self.check_view()
        self._reconnect(None)

    def _flush_all(self) -> None:
        for step in self.replica.flush_steps():
            if isinstance(step, Sync):
                step.run()
            self.check_view()

    @precondition(lambda self: self.view is not None)
    @rule(data=st.data(), crash_at=st.integers(0, 30), write=st.booleans())
    def failover(self, data: st.DataObject, crash_at: int, write: bool) -> None:
        """I2, also to an older checkpoint and when the secondary dies in the flush."""
        assert self.view is not None
        target = data.draw(st.sampled_from([None, *sorted(self.kept)]))
        run = FailoverRun("vm", force=False, epoch=target)
        kept = [checkpoint.epoch for checkpoint in self.replica.checkpoints.available]
        run.secondary_answered(
            self.replica.checkpoints.committed, kept, failed_over=False, fenced=False
        )
        if target is not None and target != self.committed:
            self.view = [bytearray(content) for content in self.kept[target]]
        self.generation += 1
        run.generation_raised()
        self.primary.fence(self.generation)
        run.fence_answered(None)
        assert run.ordered
        self.replica.stop(StopMode.FAILOVER, self.generation, target)
        run.stopped()
        assert run.step is None
        for number, step in enumerate(self.replica.flush_steps()):
            if isinstance(step, Sync):
                step.run()
            self.check_view()
            if write and number % 2:
                self.replica.buffer.write(0, 700, memoryview(bytes([number] * 90)))
                self.view[0][700:790] = bytes([number] * 90)
            if number == crash_at:
                self.replica = self._new_replica()
                self.check_view()
                assert self.replica.state is ReplicaState.FAILING_OVER
                self._flush_all()
                break
        assert self.replica.state is ReplicaState.FAILED_OVER
        for disk, expected in zip(self.secondary_disks, self.view, strict=True):
            assert disk.content == expected
        self._restart_everything()

    def _restart_everything(self) -> None:
        disks = self.secondary_disks
        self._fresh_pair()
        for volume, disk in enumerate(disks):
            for mine in (self.primary_disks[volume], self.secondary_disks[volume]):
                mine.content[:] = disk.content
                mine.allocated = set(range(-(-SIZES[volume] // BLOCK_SIZE)))
        self._connect()

    # Invariants.

    @invariant()
    def check_view(self) -> None:
        """I1."""
        if self.view is None:
            return
        for volume, expected in enumerate(self.view):
            seen = bytearray(SIZES[volume])
            self.replica.buffer.read_into(volume, 0, memoryview(seen))
            self._excuse(volume, seen, expected)
            assert seen == expected, f"view of volume {volume} differs"
        for checkpoint in self.replica.checkpoints.available:
            for volume, content in enumerate(self.kept[checkpoint.epoch]):
                seen = bytearray(SIZES[volume])
                self.replica.buffer.read_into(
                    volume, 0, memoryview(seen), at=checkpoint.epoch
                )
                self._excuse(volume, seen, content)
                assert seen == content, f"checkpoint {checkpoint.epoch} differs"

    def _excuse(
        self, volume: int, seen: bytearray, expected: bytes | bytearray
    ) -> None:
        """What rotted is wrong until it is repaired."""
        if self.rotten is not None and self.rotten[0] == volume:
            start = self.rotten[1] * BLOCK_SIZE
            seen[start : start + BLOCK_SIZE] = expected[start : start + BLOCK_SIZE]

    @invariant()
    def committed_never_goes_back(self) -> None:
        """I3."""
        known = self.replica.journal.state.committed
        assert (known if known is not None else -1) == self.committed


TestReplication = Replication.TestCase
TestReplication.settings = settings(
    max_examples=200, stateful_step_count=30, deadline=None
)
