"""When a group's checkpoints are taken, and who waits for them."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from blkcolo.errors import BlkcoloError, DeadlineMissed, Reason, Refused
from blkcolo.v1 import types_pb2
from blkcolo_coordinator.core import policy
from blkcolo_coordinator.core.policy import Observation
from blkcolo_coordinator.runs.checkpoint_run import CheckpointRun, Outcome
from blkcolo_coordinator.runtime.checkpoint_calls import CheckpointCalls

if TYPE_CHECKING:
    from blkcolo.v1.primary_pb2 import ForwardStatus
    from blkcolo.v1.secondary_pb2 import ReplicaStatus
    from blkcolo.wakeup import Wakeup
    from blkcolo_coordinator.core.headway import Headway
    from blkcolo_coordinator.core.policy import Trigger
    from blkcolo_coordinator.peers.peer_steps import PeerSteps
    from blkcolo_coordinator.runtime.driven_group import DrivenGroup

#: So many checkpoints are shown.
KEPT = 60
#: A group that is not written to is looked at so often within its RPO target: before
#: half of it has passed, which counts as a risk.
_LOOKS_A_TARGET = 2.5


class Taken(NamedTuple):
    """A checkpoint that was tried: when it ended, in seconds since 1970, and why."""

    at: float
    trigger: Trigger
    run: CheckpointRun


def _replicates(primary: ForwardStatus) -> bool:
    return primary.state == types_pb2.FORWARD_STATE_REPLICATING


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
        #: Until when nothing was written since the last one, in seconds since 1970.
        self.unchanged_at = 0.0
        #: True if a look found that nothing was.
        self.unchanged = False
        self._last_at: float | None = None
        self._calls = CheckpointCalls()

    async def maybe_take(
        self, primary: ForwardStatus, secondary: ReplicaStatus
    ) -> None:
        """Takes one if that is due."""
        record = self._group.record
        self.observe(primary, secondary)
        seen = Observation(
            now=time.monotonic(),
            last_at=self._last_at,
            sent_bytes=primary.sent_bytes_in_epoch,
            buffer_bytes=secondary.buffer_bytes,
            called=self._calls.waiting,
            unchanged=self.unchanged,
            paused=record.paused,
        )
        trigger = policy.decide(record.policy, seen)
        if trigger is not None:
            await self.take(primary.epoch, trigger)

    def observe(
        self, primary: ForwardStatus, secondary: ReplicaStatus | None = None
    ) -> bool:
        """Takes in what the primary said, and maybe the secondary; True: unchanged."""
        changed = primary.records_in_epoch > 0 or (
            secondary is not None and secondary.overlay_bytes > 0
        )
        committed = primary.HasField("committed_epoch") and (
            primary.committed_epoch + 1 == primary.epoch
        )
        self.unchanged = committed and not changed and _replicates(primary)
        if self.unchanged:
            self.unchanged_at = time.time()
        return self.unchanged

    def due_in(self) -> float | None:
        """Seconds until the group must be looked at; None where nothing is due.

        The last checkpoint may be too old, or, where nothing was written since, the
        last look: nobody knows what is written meanwhile.
        """
        policy = self._group.record.policy
        if self.unchanged:
            return (policy.rpo_target_seconds / _LOOKS_A_TARGET) or None
        longest = policy.max_interval_seconds
        if longest <= 0 or self._last_at is None:
            return None
        return self._last_at + longest - time.monotonic()

    async def take(self, epoch: int, trigger: Trigger) -> CheckpointRun:
        """Takes one and tells those who called for it; the run says how it ended."""
        calls = self._calls.take()
        run = CheckpointRun(epoch, self._group.record.generation)
        self._group.log.debug("checkpoint", epoch=epoch, trigger=trigger)
        await self._steps.take_checkpoint(run)
        self.taken.append(Taken(time.time(), trigger, run))
        if run.outcome is Outcome.COMMITTED:
            calls.answer(run)
            self._committed(run, trigger)
            return run
        failure = run.error or BlkcoloError(Reason.INTERNAL, "no reason")
        self._group.checkpoint_failed(run.epoch, failure)
        calls.refuse(failure)
        self.lost(failure)
        return run

    def _committed(self, run: CheckpointRun, trigger: Trigger) -> None:
        """Takes a commit in, and stores it.

        Raises:
            BlkcoloError: the store refused; the checkpoint exists all the same.
        """
        group = self._group
        self.last_run = run
        self._headway.committed()
        self.unchanged_at = 0.0  # it may be of a clock that was set back since
        self._last_at = time.monotonic()
        group.metrics.committed(group.name, run, trigger)
        if run.error is not None:
            group.log.warning(
                "primary missed a commit", epoch=run.epoch, error=str(run.error)
            )
        group.committed(run.epoch, str(trigger))

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
