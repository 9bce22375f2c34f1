"""When a group's checkpoints are taken, and who waits for them."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from blkcolo.errors import BlkcoloError, DeadlineMissed, Reason, Refused
from blkcolo.v1 import types_pb2
from blkcolo_coordinator.core import policy, watch_plan
from blkcolo_coordinator.core.group_state import GroupState
from blkcolo_coordinator.core.policy import Observation, Trigger
from blkcolo_coordinator.core.watch_plan import Known
from blkcolo_coordinator.runs.checkpoint_run import CheckpointRun, Outcome, Step
from blkcolo_coordinator.runtime.checkpoint_calls import CheckpointCalls

if TYPE_CHECKING:
    from blkcolo.v1.primary_pb2 import ForwardStatus
    from blkcolo.v1.secondary_pb2 import ReplicaStatus
    from blkcolo.wakeup import Wakeup
    from blkcolo_coordinator.core.headway import Headway
    from blkcolo_coordinator.core.watch_plan import WatchPlan
    from blkcolo_coordinator.peers.peer_steps import PeerSteps
    from blkcolo_coordinator.runtime.driven_group import DrivenGroup

#: So many checkpoints are shown.
KEPT = 60


class Taken(NamedTuple):
    """A checkpoint that was tried: when it ended, in seconds since 1970, and why."""

    at: float
    trigger: Trigger
    run: CheckpointRun


def _replicates(primary: ForwardStatus) -> bool:
    return primary.state == types_pb2.FORWARD_STATE_REPLICATING


def _receives(secondary: ReplicaStatus) -> bool:
    return secondary.state == types_pb2.REPLICA_STATE_RECEIVING


class Checkpointer:
    """Takes the checkpoints of one group."""

    def __init__(
        self, group: DrivenGroup, steps: PeerSteps, headway: Headway, wake: Wakeup
    ) -> None:
        """Takes the group.

        Args:
            group: the group.
            steps: carries the steps out.
            headway: learns of commits.
            wake: fires when somebody asks for a checkpoint.
        """
        self.last_run: CheckpointRun | None = None
        #: The last ones, failed ones too; the newest is last.
        self.taken: deque[Taken] = deque(maxlen=KEPT)
        self._group = group
        self._steps = steps
        self._headway = headway
        self._wake = wake
        #: True if a look found that nothing was.
        self.unchanged = False
        self._last_at: float | None = None
        self._early = 0.0
        self._calls = CheckpointCalls()

    async def maybe_take(
        self, primary: ForwardStatus, secondary: ReplicaStatus
    ) -> None:
        """Takes one if that is due."""
        record = self._group.record
        self._observe(primary, secondary)
        if record.paused and self._last_at is None:
            self._hold_to_last(primary)
        seen = Observation(
            now=time.monotonic(),
            last_at=self._last_at,
            sent_bytes=primary.sent_bytes_in_epoch,
            buffer_bytes=secondary.buffer_bytes,
            called=self._calls.waiting,
            unchanged=self.unchanged,
            paused=record.paused,
            early=self._early,
        )
        trigger = policy.decide(record.policy, seen)
        if trigger is not None:
            await self.take(primary.epoch, trigger)

    def _hold_to_last(self, primary: ForwardStatus) -> None:
        """A coordinator that starts anew takes none where a pause is in force.

        The stream's last checkpoint stays. Where it has none, or something failed, it
        begins with one all the same: nothing else protects the group.
        """
        self._group.all_reached()
        if primary.protected and self._group.failure is None:
            self._group.held_to(primary.committed_epoch)
            self._last_at = time.monotonic()

    def _observe(self, primary: ForwardStatus, secondary: ReplicaStatus) -> None:
        """Takes in whether anything was written since the last checkpoint."""
        changed = primary.records_in_epoch > 0 or secondary.overlay_bytes > 0
        committed = primary.HasField("committed_epoch") and (
            primary.committed_epoch + 1 == primary.epoch
        )
        self.unchanged = committed and not changed and _replicates(primary)
        if self.unchanged:
            self._group.recovery_point.nothing_written(self._group.sides_at)

    def next_watch(self, now: float) -> WatchPlan | None:
        """What the next look waits for; None where it must not wait.

        Args:
            now: seconds on a clock that never jumps; the plan's time ends on it.
        """
        group = self._group
        record, (primary, secondary) = group.record, group.sides
        if (
            record.state is not GroupState.PROTECTED
            or self._last_at is None
            or self._calls.waiting
            or primary is None
            or secondary is None
            or not (_replicates(primary) and _receives(secondary))
            or {primary.generation, secondary.generation} != {record.generation}
        ):
            return None
        known = Known(
            now,
            self._last_at,
            record.generation,
            primary.epoch,
            self.unchanged,
            record.paused,
            self._early,
        )
        interval = group.settings.poll_interval_seconds
        return watch_plan.plan(record.policy, known, interval)

    def due_in(self) -> float | None:
        """Seconds until the group must be looked at; None where nothing is due.

        The last checkpoint may be too old, or, where nothing was written since, the
        last look: nobody knows what is written meanwhile.
        """
        policy = self._group.record.policy
        if self.unchanged:
            return watch_plan.quiet_for(policy)
        longest = policy.max_interval_seconds
        if longest <= 0 or self._last_at is None:
            return None
        return self._last_at + longest - self._early - time.monotonic()

    async def take(self, epoch: int, trigger: Trigger) -> CheckpointRun:
        """Takes one and tells those who called for it; the run says how it ended."""
        calls = self._calls.take()
        run = CheckpointRun(epoch, self._group.record.generation)
        await self._steps.take_checkpoint(run)
        self._ended(run, trigger)
        self._decided(run, trigger, calls)
        return run

    async def take_called(self) -> None:
        """Takes one that somebody waits for, before both sides were looked at.

        The epoch behind the last commit is the one under way, if nothing happened
        since. If something did, the primary refuses its barrier: then nothing is done,
        and those who wait go on waiting, for the look that says why. They are answered
        as soon as the commit is recorded; the primary is told right behind.

        Raises:
            BlkcoloError: the store refused; the checkpoint exists all the same.
        """
        policy_now, epoch = self._group.record.policy, self._following
        if epoch is None or not self._calls.waiting:
            return
        seen = Observation(time.monotonic(), self._last_at, 0, 0, called=True)
        if policy.decide(policy_now, seen) is not Trigger.CALL:
            return
        calls = self._calls.take()
        run = CheckpointRun(epoch, self._group.record.generation)
        await self._steps.take_step(run, Step.PREPARE_PRIMARY)
        if run.outcome is Outcome.ABORTED and isinstance(run.error, Refused):
            self._calls.put_back(calls)
            return
        while run.step is not None and run.outcome is None:
            await self._steps.take_step(run, run.step)
        try:
            self._decided(run, Trigger.CALL, calls)
        finally:
            await self._steps.take_checkpoint(run)
            self._ended(run, Trigger.CALL)

    @property
    def _following(self) -> int | None:
        """The epoch behind the last commit; None where a look must say which it is."""
        if self._last_at is None or not self.taken:
            return None
        last = self.taken[-1].run
        clean = last.outcome is Outcome.COMMITTED and last.error is None
        protected = self._group.record.state is GroupState.PROTECTED
        return last.epoch + 1 if clean and protected else None

    def _decided(
        self, run: CheckpointRun, trigger: Trigger, calls: CheckpointCalls
    ) -> None:
        """Stores whether the checkpoint exists, and tells those who called for it.

        Raises:
            BlkcoloError: the store refused; the checkpoint exists all the same.
        """
        self._group.log.debug("checkpoint", epoch=run.epoch, trigger=trigger)
        self.taken.append(Taken(time.time(), trigger, run))
        if run.outcome is Outcome.COMMITTED:
            calls.answer(run)
            self._committed(run, trigger)
            return
        failure = run.error or BlkcoloError(Reason.INTERNAL, "no reason")
        self._group.checkpoint_failed(run.epoch, failure)
        calls.refuse(failure)
        self.lost(failure)

    def _committed(self, run: CheckpointRun, trigger: Trigger) -> None:
        self.last_run = run
        self._headway.committed()
        self._last_at = time.monotonic()
        record = self._group.record
        self._early = policy.early(record.policy, record.name, self._last_at)
        self._group.committed(run.epoch, str(trigger))

    def _ended(self, run: CheckpointRun, trigger: Trigger) -> None:
        """Counts a checkpoint that was committed, whose last step has ended as well."""
        group = self._group
        if run.outcome is not Outcome.COMMITTED:
            return
        group.metrics.committed(group.name, run, trigger)
        if run.error is not None:
            group.log.warning(
                "primary missed a commit", epoch=run.epoch, error=str(run.error)
            )

    def lost(self, error: BlkcoloError) -> None:
        """The group is not protected; nobody's checkpoint comes."""
        self.starts_anew()
        self._group.lost(error)
        self._calls.refuse(error)

    def starts_anew(self) -> None:
        """The next stream begins with a checkpoint."""
        self._last_at = None

    def refuse(self) -> None:
        """There will be none in this state."""
        self._calls.refuse(self.not_replicating())

    def not_replicating(self) -> Refused:
        """Why there is none."""
        group = self._group
        return Refused(
            Reason.NOT_REPLICATING,
            f"group {group.name} is {group.record.state.name}: a checkpoint needs it to"
            " replicate; resume replication",
        )

    async def call(self, timeout: float) -> CheckpointRun:
        """Takes a checkpoint that begins after this call.

        Raises:
            BlkcoloError: none could be taken within `timeout` seconds, and why.
        """
        if self._group.ended:
            raise self.not_replicating()
        answer = self._calls.add()
        self._wake.fire()
        try:
            async with asyncio.timeout(timeout):
                return await answer
        except TimeoutError as error:
            raise DeadlineMissed(
                Reason.DEADLINE,
                f"group {self._group.name} took no checkpoint within {timeout:g} s;"
                " ask again, or see its status",
            ) from error
