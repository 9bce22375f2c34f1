"""Checkpoints at run time: the wait for a prepared epoch, and the syncs of a commit."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from blkcolo.errors import DeadlineMissed, Reason, from_os_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from blkcolo.wakeup import Wakeup
    from blkcolo_secondary.buffer.save_and_write import Sync
    from blkcolo_secondary.core.replica import Replica
    from blkcolo_secondary.core.replica_options import Committed, Prepared
    from blkcolo_secondary.runtime.reception_run import ReceptionRun
    from blkcolo_secondary.runtime.removals import Removals
    from blkcolo_secondary.runtime.slow_work import SlowWork


class PrepareAndCommit:
    """The two phases of one group's checkpoints."""

    def __init__(
        self,
        replica: Replica,
        slow: SlowWork,
        removals: Removals,
        reception: ReceptionRun,
        *,
        changed: Wakeup,
        clock: Callable[[], float],
    ) -> None:
        """Nothing is under way.

        Args:
            replica: the core.
            slow: where disks and journal are synced.
            removals: removes what a commit dropped.
            reception: the stream, which learns of a buffer that has room again.
            changed: fires when a message is applied, and is fired here.
            clock: seconds since 1970.
        """
        self._replica = replica
        self._core = replica.checkpoints
        self._slow = slow
        self._removals = removals
        self._reception = reception
        self._changed = changed
        self._clock = clock
        self._committing: asyncio.Task[Committed] | None = None

    async def prepare(
        self, epoch: int, generation: int, barrier_seq: int, timeout: float
    ) -> Prepared:
        """Waits until the epoch is prepared.

        Raises:
            DeadlineMissed: not within `timeout` seconds; says what is missing.
            BlkcoloError: it will not be prepared; see `Checkpoints.prepared`.
        """
        prepared = await self._changed.until(
            lambda: self._core.prepared(epoch, generation, barrier_seq), timeout
        )
        if prepared is None:
            raise self._late(epoch, barrier_seq)
        return prepared

    def _late(self, epoch: int, barrier_seq: int) -> DeadlineMissed:
        stream = self._replica.reception.stream
        applied = stream.applied if stream is not None else 0
        missing = (
            f"{barrier_seq - applied} messages up to the barrier are"
            if barrier_seq > applied
            else "its barrier is"
        )
        return DeadlineMissed(
            Reason.DEADLINE,
            f"group {self._replica.group}: epoch {epoch} is not prepared, {missing}"
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
            self._commit(epoch, generation), name=f"commit {self._replica.group}"
        )
        work.add_done_callback(self._commit_ended)
        return await asyncio.shield(work)

    def _commit_ended(self, _: asyncio.Task[Committed]) -> None:
        self._committing = None

    async def _commit(self, epoch: int, generation: int) -> Committed:
        steps = self._core.commit_steps(epoch, generation, self._clock())
        committed: Committed | None = None
        while committed is None:
            try:
                sync = next(steps)
            except StopIteration as end:
                committed = end.value
            else:
                await self._sync(sync)
            self._changed.fire()
        self._removals.start()  # what it dropped is durably dropped by now
        self._reception.nudge()  # VM writes may be held up by a buffer that was full
        return committed

    async def _sync(self, sync: Sync) -> None:
        """Syncs disks or journal; a disk's failure ends the stream's credit."""
        stream = self._replica.reception.stream
        try:
            await self._slow.on_disk(sync.run)
        except OSError as error:
            failure = from_os_error(error, "making the disk durable")
            if stream is not None:
                self._replica.reception.fault(stream, failure)
                self._reception.interrupt()
            raise failure from error

    async def ended(self) -> None:
        """Waits for a commit that is under way."""
        if self._committing is not None:
            await asyncio.wait([self._committing])
