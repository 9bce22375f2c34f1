"""One group on the secondary at run time: tasks and waits around the core.

All disk work but fdatasync and unlink runs on the event loop's thread, between two
awaits: so a reader of the view never sees half a step. A step is at most a few MiB.
"""

from __future__ import annotations

import asyncio
import errno
from typing import TYPE_CHECKING

import structlog

from blkcolo.errors import (
    BlkcoloError,
    DeadlineMissed,
    Reason,
    Refused,
    Unavailable,
    from_os_error,
    translated,
)
from blkcolo.intent.sync import IntentSync
from blkcolo.stream import StreamFailure, Verify
from blkcolo.wakeup import Wakeup
from blkcolo_secondary.buffer.save_and_write import Sync
from blkcolo_secondary.core.replica_state import ReplicaState
from blkcolo_secondary.runtime.flush_run import FlushRun
from blkcolo_secondary.runtime.inbox import Inbox
from blkcolo_secondary.runtime.layer_check import LayerCheck
from blkcolo_secondary.runtime.removals import Removals
from blkcolo_secondary.runtime.slow_work import SlowWork

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from blkcolo.storage.volume_growth import VolumeGrowth
    from blkcolo.stream import Hello, Request, Response, VolumeId
    from blkcolo_secondary.core.replica import Replica
    from blkcolo_secondary.core.replica_options import Committed, Prepared
    from blkcolo_secondary.core.stop_plan import StopMode
    from blkcolo_secondary.stream.receiver import Receiver

_log = structlog.get_logger(__name__)


class ReplicaGroup:
    """Drives one `Replica`."""

    def __init__(
        self,
        replica: Replica,
        *,
        secondary_vm: bool,
        queue_bytes: int,
        growth: VolumeGrowth,
        clock: Callable[[], float],
    ) -> None:
        """Takes the core.

        Args:
            replica: the core.
            secondary_vm: True where a Secondary VM writes to the view (COLO).
            queue_bytes: bound of what is received and not yet applied.
            growth: makes the volumes larger.
            clock: seconds since 1970.
        """
        self.replica = replica
        self.secondary_vm = secondary_vm
        self.changed = Wakeup()
        self.received_bytes = 0
        self._queue_bytes = queue_bytes
        self._growth = growth
        self._clock = clock
        self._slow = SlowWork(replica.group)
        self._intent_sync = IntentSync(
            replica.intent,
            replica.intend,
            self._slow.on_disk,
            self._intent_not_durable,
        )
        self._removals = Removals(replica, self._slow)
        self.flush = FlushRun(replica, self._carry_out, self._flush_ended)
        self.layer_check = LayerCheck(replica, self._slow, self._layer_damaged)
        self._inbox: Inbox | None = None
        self._committing: asyncio.Task[Committed] | None = None

    def start(self) -> None:
        """Goes on with a flush that an earlier run did not finish."""
        self.flush.start()

    async def close(self) -> None:
        """Ends all tasks and closes the core."""
        await self.flush.cancel()
        await self.layer_check.cancel()
        if self._committing is not None:
            await asyncio.wait([self._committing])
        await self._removals.ended()
        self._slow.close()
        self.replica.close()

    def sync(self) -> asyncio.Future[None]:
        """Makes disks and overlays durable."""
        return self._slow.on_buffer(self.replica.buffer.sync)

    # The stream.

    async def receive(
        self, hello: Hello, requests: AsyncIterator[tuple[int, Request]]
    ) -> AsyncIterator[Response]:
        """Serves one stream, from the welcome on; ends when it cannot go on.

        Raises:
            BlkcoloError: the hello was refused.
        """
        await self._removals.ended()  # the core does what is left of it on this thread
        welcome = self.replica.reception.hello(hello)
        stream = self.replica.reception.stream
        if stream is None:
            raise Unavailable(Reason.LINK_LOST, f"group {hello.group}: stream lost")
        log = _log.bind(group=hello.group, generation=hello.generation)
        log.info("stream started", epoch=welcome.epoch, committed=welcome.committed)
        self.changed.fire()
        self._interrupt_stream()
        inbox = self._inbox = Inbox(self._queue_bytes)
        reader = asyncio.create_task(
            self._read(stream, requests, inbox), name=f"read {hello.group}"
        )
        try:
            yield welcome
            async for answer in self._apply_all(stream, inbox):
                yield answer
        except BlkcoloError as error:
            log.warning("stream failed", reason=error.reason.name, error=str(error))
            yield StreamFailure(error)
        finally:
            reader.cancel()
            self.replica.reception.ended(stream)
            self.changed.fire()
            log.info("stream ended", applied_seq=stream.applied)

    def _interrupt_stream(self) -> None:
        if self._inbox is not None:
            self._inbox.interrupt()

    async def _read(
        self,
        stream: Receiver,
        requests: AsyncIterator[tuple[int, Request]],
        inbox: Inbox,
    ) -> None:
        """Takes messages into memory as long as there is room for them."""
        failure: BlkcoloError | None = None
        try:
            async for seq, message in requests:
                stream.receive(seq)
                self.received_bytes += inbox.put(seq, message)
                await inbox.room()
        except BlkcoloError as error:
            self.replica.reception.fault(stream, error)
            failure = error
        finally:
            inbox.close(failure)

    async def _apply_all(
        self, stream: Receiver, inbox: Inbox
    ) -> AsyncIterator[Response]:
        while taken := await inbox.take():
            seq, message = taken
            if message is None:
                yield self.replica.reception.ack(stream)
                continue
            for answer in self.replica.reception.apply(stream, seq, message):
                if isinstance(answer, Sync):
                    await self._sync_for(stream, answer)
                elif answer is not None:
                    yield answer
                else:
                    await asyncio.sleep(0)
            inbox.done(message)
            if isinstance(message, Verify) and message.complete:
                self.layer_check.start()
            self.changed.fire()
            yield self.replica.reception.ack(stream)

    async def _sync_for(self, stream: Receiver, sync: Sync) -> None:
        """What is not durable cannot be acknowledged: the stream is lost."""
        try:
            await self._carry_out(sync)
        except BlkcoloError as error:
            self.replica.reception.fault(stream, error)
            raise

    async def _carry_out(self, sync: Sync) -> None:
        with translated("making the Disk Buffer durable"):
            await self._slow.on_buffer(sync.run)

    # Checkpoints.

    async def prepare(
        self, epoch: int, generation: int, barrier_seq: int, timeout: float
    ) -> Prepared:
        """Waits until the epoch is prepared.

        Raises:
            DeadlineMissed: not within `timeout` seconds; says what is missing.
            BlkcoloError: it will not be prepared; see `Checkpoints.prepared`.
        """
        prepared = await self.changed.until(
            lambda: self.replica.checkpoints.prepared(epoch, generation, barrier_seq),
            timeout,
        )
        if prepared is None:
            raise self._late(epoch, barrier_seq)
        return prepared

    def _late(self, epoch: int, barrier_seq: int) -> DeadlineMissed:
        stream = self.replica.reception.stream
        applied = stream.applied if stream is not None else 0
        missing = (
            f"{barrier_seq - applied} messages up to the barrier are"
            if barrier_seq > applied
            else "its barrier is"
        )
        return DeadlineMissed(
            Reason.DEADLINE,
            f"group {self.replica.group}: epoch {epoch} is not prepared, {missing}"
            f" still missing (applied up to {applied}); ask again, or look at the"
            " link and the secondary's disk",
            epoch=epoch,
        )

    async def commit(self, epoch: int, generation: int) -> Committed:
        """Commits a prepared epoch; see `Checkpoints.commit_steps`.

        Forwarded writes are applied, and the next epoch may be prepared, while the
        disks are synced. A caller that leaves does not cut it short; one that leaves
        while another commit is under way leaves nothing behind.
        """
        while self._committing is not None:
            await asyncio.wait([self._committing])
        work = self._committing = asyncio.create_task(
            self._commit(epoch, generation), name=f"commit {self.replica.group}"
        )
        work.add_done_callback(self._commit_ended)
        return await asyncio.shield(work)

    def _commit_ended(self, _: asyncio.Task[Committed]) -> None:
        self._committing = None

    async def _commit(self, epoch: int, generation: int) -> Committed:
        steps = self.replica.checkpoints.commit_steps(epoch, generation, self._clock())
        committed: Committed | None = None
        while committed is None:
            try:
                sync = next(steps)
            except StopIteration as end:
                committed = end.value
            else:
                await self._sync_for_commit(sync)
            self.changed.fire()
        self._removals.start()  # what it dropped is durably dropped by now
        if self._inbox is not None:
            self._inbox.nudge()  # VM writes may be held up by a buffer that was full
        return committed

    async def _sync_for_commit(self, sync: Sync) -> None:
        """Syncs disks or journal; a disk's failure ends the stream's credit."""
        stream = self.replica.reception.stream
        try:
            await self._slow.on_disk(sync.run)
        except OSError as error:
            failure = from_os_error(error, "making the disk durable")
            if stream is not None:
                self.replica.reception.fault(stream, failure)
                self._interrupt_stream()
            raise failure from error

    def _layer_damaged(self) -> None:
        if self.replica.failure is not None:
            self._interrupt_stream()
        self._removals.start()
        self.changed.fire()

    def grow(self, name: str, size: int, generation: int) -> VolumeId:
        """Makes a volume larger; before the primary does. Answers the same again.

        Raises:
            BlkcoloError: refused, or the disk refused; the old size is in force.
        """
        self.replica.check_growth(generation)
        index = self._growth.find(name)
        self._growth.grow(index, size)
        self.replica.buffer.has_grown(index)
        with translated("writing the intent log", name):
            self.replica.intent.grow(index, size)
        return self.replica.volumes[index]

    # The end.

    async def stop(
        self, mode: StopMode, generation: int, epoch: int | None = None
    ) -> None:
        """Ends replication.

        A failover returns at once: the export is writable, and the flush goes on in
        the background. The others return when the disk is what was asked for;
        cancelled (its caller's deadline), the flush goes on; called again it joins.

        Raises:
            BlkcoloError: refused, or the flush failed; the latter goes on when
                called again.
        """
        if epoch is not None or self.replica.state is ReplicaState.STOPPED:
            # Its overlay gets the name of one that may be on its way out.
            await self._removals.ended()
        self.replica.stop(mode, generation, epoch)
        self._interrupt_stream()
        self.changed.fire()
        self.flush.start()
        if self.writable:
            return
        await self.flush.join()
        self._removals.start()

    def _flush_ended(self) -> None:
        self.changed.fire()
        self._removals.start()

    @property
    def kept_epochs(self) -> list[int]:
        """The checkpoints that can be read or failed over to, oldest first."""
        return [kept.epoch for kept in self.replica.checkpoints.available]

    def check_flushed(self) -> None:
        """Raises Refused unless this is an ordinary disk after a failover."""
        state = self.replica.state
        if state is ReplicaState.FAILED_OVER:
            return
        why = "a promotion needs it to be FAILED_OVER"
        if state is ReplicaState.FAILING_OVER:
            left, total = self.flush.remaining_bytes, self.flush.total_bytes
            why = f"{left} of {total} bytes are to be flushed before it is promoted"
        raise Refused(
            Reason.WRONG_STATE, f"group {self.replica.group} is {state.name}: {why}"
        )

    # The VM's writes after a failover.

    def admit(
        self, volume: int, offset: int, length: int
    ) -> asyncio.Future[None] | None:
        """None if a write may come; see `nbd.export.Export`."""
        if self.replica.tracks and self.replica.options.host_durable:
            return self._intent_sync.wait_for(volume, offset, length)
        return None

    def intend(self, volume: int, offset: int, length: int) -> None:
        """Marks a write that is about to be done; raises OSError: it must not be."""
        replica = self.replica
        replica.intend(volume, offset, length)
        durable = not replica.options.host_durable or not replica.tracks
        if not durable and replica.intent.unsynced(volume, offset, length):
            raise OSError(errno.EIO, "the intent log is not durable")

    def _intent_not_durable(self, error: OSError) -> None:
        """The write meets the refusal; its client learns of it."""
        _log.error("intent log not durable", group=self.replica.group, error=str(error))

    @property
    def writable(self) -> bool:
        """True where clients of the export may write."""
        if self.replica.tracks:
            return True
        ended = (ReplicaState.STOPPED, ReplicaState.ROLLING_BACK)
        return self.secondary_vm and self.replica.standing.state not in ended
