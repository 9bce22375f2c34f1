"""One group at run time: looks at both sides, and lets one thing happen after another.

One task and one lock a group: polling, checkpoints, changes of role, stop and resume
never run at the same time, so no decision rests on a state that another one is
changing. What is done is the business of `starter`, `checkpointer`, `failovers`
and `role_changes`.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from blkcolo.errors import BlkcoloError, Reason, Refused
from blkcolo.v1 import types_pb2
from blkcolo.wakeup import Wakeup
from blkcolo_coordinator.core.group_state import ENDED, Event, GroupState
from blkcolo_coordinator.core.headway import Headway
from blkcolo_coordinator.core.policy import Trigger
from blkcolo_coordinator.core.poll_pace import PollPace
from blkcolo_coordinator.peers.node_views import FAILED_OVER
from blkcolo_coordinator.peers.peer_steps import PeerSteps
from blkcolo_coordinator.runtime.checkpointer import Checkpointer
from blkcolo_coordinator.runtime.driven_group import DrivenGroup
from blkcolo_coordinator.runtime.group_watch import NONE, GroupWatch
from blkcolo_coordinator.runtime.role_changes import RoleChanges
from blkcolo_coordinator.runtime.starter import Starter

if TYPE_CHECKING:
    from blkcolo.v1.primary_pb2 import ForwardStatus, VerifyReport
    from blkcolo.v1.secondary_pb2 import CheckpointEntry, ReplicaStatus
    from blkcolo.v1.types_pb2 import Volume
    from blkcolo_coordinator.core.group_record import GroupRecord
    from blkcolo_coordinator.core.policy import Policy
    from blkcolo_coordinator.peers.pair import Pair
    from blkcolo_coordinator.record.store import Store
    from blkcolo_coordinator.runs.checkpoint_run import CheckpointRun
    from blkcolo_coordinator.runs.roles import Cost, Side
    from blkcolo_coordinator.runtime.checkpointer import Taken
    from blkcolo_coordinator.runtime.counts import CoordinatorMetrics
    from blkcolo_coordinator.runtime.driven_group import Sides
    from blkcolo_coordinator.runtime.group_watch import Answers
    from blkcolo_coordinator.settings import CoordinatorSettings

_F = types_pb2.ForwardState
_STREAM_BEGINS = (_F.FORWARD_STATE_CONNECTING, _F.FORWARD_STATE_RESYNCING)


class GroupDriver:
    """Drives one group."""

    def __init__(
        self,
        record: GroupRecord,
        store: Store,
        pair: Pair,
        settings: CoordinatorSettings,
        metrics: CoordinatorMetrics,
    ) -> None:
        """Goes on from the record; `start` begins."""
        self.changed = Wakeup()
        self.headway = Headway()
        self._wake = Wakeup()
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        group = self._group = DrivenGroup(record, store, pair, settings, metrics)
        self._pace = PollPace()
        self._watch = GroupWatch(pair, self._wake)
        self._steps = PeerSteps(pair, settings)
        self._checkpoints = Checkpointer(group, self._steps, self.headway, self._wake)
        self._starter = Starter(group, self.headway, self._checkpoints)
        self._roles = RoleChanges(group, self._steps, self._checkpoints)

    def start(self) -> None:
        """Starts the group's task."""
        self._task = asyncio.create_task(self._drive(), name=f"drive {self.name}")

    async def close(self) -> None:
        """Ends the task and all channels; a checkpoint under way is dropped."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._group.pair.close()

    @property
    def name(self) -> str:
        """The group's name."""
        return self._group.name

    @property
    def record(self) -> GroupRecord:
        """What is stored of it."""
        return self._group.record

    @property
    def sides(self) -> Sides:
        """What both sides last answered."""
        return self._group.sides

    @property
    def unanswered(self) -> tuple[BlkcoloError | None, BlkcoloError | None]:
        """Why the primary, and the secondary, did not answer."""
        return self._group.unanswered

    @property
    def taken(self) -> list[Taken]:
        """The last checkpoints that were tried, the newest last."""
        return list(self._checkpoints.taken)

    @property
    def failure(self) -> BlkcoloError | None:
        """Why it is not protected."""
        return self._group.failure

    @property
    def recovery_point_age(self) -> float | None:
        """Seconds that would be lost now; None before the first checkpoint; any thread.

        A checkpoint that nothing was written after is as good as a new one.
        """
        return self._group.recovery_point.age(time.monotonic())

    @property
    def committed_age(self) -> float | None:
        """Seconds since the last checkpoint was committed; None before the first."""
        return self._group.recovery_point.committed_age(time.monotonic())

    @property
    def last_run(self) -> CheckpointRun | None:
        """The last committed checkpoint."""
        return self._checkpoints.last_run

    async def _drive(self) -> None:
        answers, record = NONE, self.record
        while True:
            try:
                async with self._lock:
                    await self._tick(answers, record)
            except BlkcoloError as error:
                self._checkpoints.lost(error)
            except Exception as error:
                self._group.log.exception("program error", exc_info=error)
                text = f"program error: {error!r}"
                self._checkpoints.lost(BlkcoloError(Reason.INTERNAL, text))
            self.changed.fire()
            record = self.record
            answers = await self._until_next_look()

    async def _until_next_look(self) -> Answers:
        """Waits; returns what both sides have said by then.

        The two sides of a group that is protected say when they are to be looked at;
        one that is not is looked at in every interval.
        """
        # The loop's clock is the same for all that go on in one of its turns: so their
        # calls go together.
        clock = asyncio.get_running_loop().time
        plan = self._checkpoints.next_watch(clock())
        if plan is None or not self._watch.can(plan):
            await self._wake.wait(self._next_in())
            return NONE
        interval = self._group.settings.poll_interval_seconds
        if await self._wake.wait(self._pace.next(clock(), interval, object(), None)):
            return NONE
        now = clock()
        plan = self._checkpoints.next_watch(now)
        if plan is None or plan.until <= now:
            return NONE
        return await self._watch.answers(plan, plan.until - now)

    def _next_in(self) -> float:
        """Seconds: every interval, unless the group is protected and quiet."""
        interval = self._group.settings.poll_interval_seconds
        now = asyncio.get_running_loop().time()
        primary, secondary = self.sides
        protected = self.record.state is GroupState.PROTECTED
        if not protected or primary is None or secondary is None:
            return self._pace.next(now, interval, object(), None)
        seen = (
            primary.sent_bytes,
            primary.records_in_epoch,
            secondary.buffer_bytes,
            secondary.overlay_bytes,
            self.record.paused,
        )
        return self._pace.next(now, interval, seen, self._checkpoints.due_in())

    # One look at the group.

    async def _tick(self, answers: Answers, record: GroupRecord) -> None:
        """Takes in what both sides said while this was the record.

        If it is another one by now, something was done to them since.
        """
        await self._checkpoints.take_called()
        await self._ask_both(answers if self.record is record else NONE)
        primary, secondary = self.sides
        if self.record.state in ENDED:
            await self._roles.go_on()
        elif self.record.state is GroupState.STOPPED:
            self._checkpoints.refuse()
        elif primary is not None and secondary is not None:
            await self._replicate(primary, secondary)

    async def _ask_both(self, answers: Answers = NONE) -> None:
        for error in await self._group.ask_both(answers):
            if not self._group.ended:
                self._checkpoints.lost(error)

    async def _replicate(
        self, primary: ForwardStatus, secondary: ReplicaStatus
    ) -> None:
        if secondary.state in FAILED_OVER:
            raise Refused(
                Reason.FAILED_OVER,
                f"group {self.name}: its secondary was failed over by somebody else;"
                " call Failover here as well, to fence the primary",
            )
        if primary.state in _STREAM_BEGINS:
            self._group.advance(Event.STARTED)
            if primary.state == _F.FORWARD_STATE_RESYNCING:
                self._group.all_reached()
        elif primary.state != _F.FORWARD_STATE_REPLICATING:
            await self._starter.start(primary)
        elif primary.generation != self.record.generation:
            timeout = self._group.settings.stop_timeout_seconds
            await self._group.pair.primary.stop(
                self.record.generation, drain=True, timeout=timeout
            )
        else:
            self._starter.stands()
            await self._checkpoints.maybe_take(primary, secondary)

    # What people ask for.

    async def checkpoint(self, timeout: float) -> CheckpointRun:
        """Takes a checkpoint that begins after this call; see `Checkpointer.call`."""
        return await self._checkpoints.call(timeout)

    async def fail_over(self, *, force: bool, epoch: int | None = None) -> bool:
        """Makes the secondary's disk the VM's disk; see `Failovers.fail_over`."""
        async with self._lock:
            fenced = await self._roles.failovers.fail_over(force=force, epoch=epoch)
        self.changed.fire()
        return fenced

    async def reprotect(self, discard: Side | None, *, dry_run: bool) -> Cost:
        """Protects the survivor of a failover; see `RoleChanges.reprotect`."""
        async with self._lock:
            cost = await self._roles.reprotect(discard, dry_run=dry_run)
        self._start_soon(dry_run=dry_run)
        return cost

    async def switch_over(self, *, dry_run: bool) -> Cost:
        """Swaps the roles; see `RoleChanges.switch_over`."""
        async with self._lock:
            cost = await self._roles.switch_over(dry_run=dry_run)
        self._start_soon(dry_run=dry_run)
        return cost

    async def fail_back(self, *, dry_run: bool) -> Cost:
        """Switches over to the configured primary; see `RoleChanges.fail_back`."""
        async with self._lock:
            cost = await self._roles.fail_back(dry_run=dry_run)
        self._start_soon(dry_run=dry_run)
        return cost

    def _start_soon(self, *, dry_run: bool) -> None:
        if not dry_run:
            self._starter.start_soon()
            self._wake.fire()

    async def stop(self, *, keep_latest: bool) -> None:
        """Ends replication: drained, with a last checkpoint where that is possible.

        A primary that does not answer is left alone; that is kept as the failure.

        Raises:
            BlkcoloError: the secondary did not end it; calling again goes on.
        """
        group = self._group
        async with self._lock:
            state = group.after(Event.STOP)
            group.failure = None
            await self._ask_both()
            primary, secondary = self.sides
            replicates = (
                primary is not None and primary.state == _F.FORWARD_STATE_REPLICATING
            )
            # Without a checkpoint, the secondary goes back to what it held before.
            holds_one = secondary is not None and secondary.HasField("committed_epoch")
            if primary is not None and replicates and holds_one:
                await self._checkpoints.take(primary.epoch, Trigger.STOP)
            unstopped = await self._steps.stop(
                self.record.generation, keep_latest=keep_latest
            )
            group.update(durable=True, state=state)
            group.failure = unstopped
            await self._ask_both()
        self.changed.fire()

    async def pause(self) -> None:
        """Suspends automatic checkpoints."""
        async with self._lock:
            self._group.update(durable=True, paused=True)
        self.changed.fire()
        self._wake.fire()

    async def resume(self, *, discard_secondary: bool = False) -> None:
        """Ends a pause, a stop, or the wait for an operator.

        With `discard_secondary` the next start may overwrite contents of the secondary
        that never came from this group.
        """
        async with self._lock:
            state = self._group.after(Event.RESUME)
            self._group.update(durable=True, paused=False, state=state)
            self._starter.start_soon(discard_secondary=discard_secondary)
        self._wake.fire()

    async def checkpoints(self) -> list[CheckpointEntry]:
        """Asks the secondary what failover can lead to."""
        return await self._group.pair.secondary.checkpoints()

    async def verify(self, number: int, timeout: float) -> VerifyReport:
        """Has the primary compare both disks; see PrimaryService.Verify.

        Whoever asks for the status behind the end of a pass sees what it found.
        """
        primary = self._group.pair.primary
        report = await primary.verify(self.record.generation, number, timeout)
        if report.complete or report.HasField("failure"):
            async with self._lock:
                await self._ask_both()
        return report

    async def grow(self, volume: str, size: int) -> Volume:
        """Makes a volume larger, the secondary's first; both must answer.

        Raises:
            BlkcoloError: refused, or not done on both sides; calling again goes on.
        """
        pair, generation = self._group.pair, self.record.generation
        async with self._lock:
            await pair.secondary.grow(volume, size, generation)
            grown = await pair.primary.grow(volume, size, generation)
            self._starter.start_soon()
        self._wake.fire()
        return grown

    async def set_policy(self, new: Policy) -> None:
        """Changes when checkpoints are taken."""
        async with self._lock:
            self._group.update(durable=True, policy=new)
        self._wake.fire()
