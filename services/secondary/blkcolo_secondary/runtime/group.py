"""One group on the secondary at run time: what runs around its core, and its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blkcolo.errors import Reason, Refused, Unavailable, translated
from blkcolo.wakeup import Wakeup
from blkcolo.watch import Watch
from blkcolo_secondary.core.replica_state import ReplicaState
from blkcolo_secondary.runtime.flush_run import FlushRun
from blkcolo_secondary.runtime.layer_check import LayerCheck
from blkcolo_secondary.runtime.prepare_and_commit import PrepareAndCommit
from blkcolo_secondary.runtime.reception_run import ReceptionRun
from blkcolo_secondary.runtime.removals import Removals
from blkcolo_secondary.runtime.slow_work import SlowWork
from blkcolo_secondary.runtime.survivor_writes import SurvivorWrites

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from blkcolo.storage.volume_growth import VolumeGrowth
    from blkcolo.stream import VolumeId
    from blkcolo.watch import Terms
    from blkcolo_secondary.core.replica import Replica
    from blkcolo_secondary.core.stop_plan import StopMode
    from blkcolo_secondary.core.watch import ReplicaWatch


class ReplicaGroup:
    """Drives one `Replica`.

    Attributes:
        replica: the core.
        secondary_vm: True where a Secondary VM writes to the view (COLO).
        changed: fires when anything has changed.
        reception: the stream.
        checkpoints: their two phases.
        flush: brings the disk to what a stop asked for.
        layer_check: reads the undo layers back.
        writes: the VM's, after a failover.
    """

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
        self._watch = Watch(self.changed)
        self._closing = False
        self._growth = growth
        self._slow = slow = SlowWork(replica.group)
        self._removals = removals = Removals(replica, slow)
        self.flush = FlushRun(replica, slow.carry_out, self._flush_ended)
        self.layer_check = LayerCheck(replica, slow, self._layer_damaged)
        self.reception = ReceptionRun(
            replica,
            slow,
            removals,
            self.layer_check,
            changed=self.changed,
            queue_bytes=queue_bytes,
        )
        self.checkpoints = PrepareAndCommit(
            replica,
            slow,
            removals,
            self.reception,
            changed=self.changed,
            clock=clock,
        )
        self.writes = SurvivorWrites(replica, slow)

    def start(self) -> None:
        """Goes on with a flush that an earlier run did not finish."""
        self.flush.start()

    async def close(self) -> None:
        """Ends all tasks and closes the core."""
        self.end_watch()
        await self.flush.cancel()
        await self.layer_check.cancel()
        await self.checkpoints.ended()
        await self._removals.ended()
        self._slow.close()
        self.replica.close()

    async def watch(self, watch: ReplicaWatch, terms: Terms) -> bool:
        """Waits until there is something to act on; False if the time was over before.

        Args:
            watch: what that is.
            terms: how long; True as well if a newer watch ended it.

        Raises:
            Unavailable: the group changes its role, or the service stops.
        """
        found = await self._watch.wait(
            lambda: self._closing or self.replica.due(watch),
            # The Secondary VM's writes are not told.
            lambda: not (watch.written and self.secondary_vm),
            terms,
        )
        if self._closing:
            raise Unavailable(
                Reason.STOPPING,
                f"group {self.replica.group} is no secondary any more, or this service"
                " stops; ask again",
            )
        return found

    def sync(self) -> asyncio.Future[None]:
        """Makes disks and overlays durable."""
        return self._slow.on_buffer(self.replica.buffer.sync)

    def end_watch(self) -> None:
        """Lets a look that waits be answered: there will be nothing to see."""
        self._closing = True
        self.changed.fire()
        self._watch.end()

    def _layer_damaged(self) -> None:
        if self.replica.failure is not None:
            self.reception.interrupt()
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
        self.reception.interrupt()
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

    @property
    def writable(self) -> bool:
        """True where clients of the export may write."""
        if self.replica.tracks:
            return True
        ended = (ReplicaState.STOPPED, ReplicaState.ROLLING_BACK)
        return self.secondary_vm and self.replica.standing.state not in ended
