"""One group at run time: asks both sides, decides, and carries the decisions out.

One task and one lock a group: polling, checkpoints, failover, stop and resume never
run at the same time, so no decision rests on a state that another one is changing.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import structlog

from blkcolo.errors import BlkcoloError, DeadlineMissed, Reason, Refused
from blkcolo.grpc_errors import failure_from
from blkcolo.v1 import types_pb2
from blkcolo.wakeup import Wakeup
from blkcolo_coordinator import policy
from blkcolo_coordinator.backoff import NEEDS_OPERATOR, Backoff
from blkcolo_coordinator.checkpoint_calls import CheckpointCalls
from blkcolo_coordinator.checkpoint_run import CheckpointRun, Outcome
from blkcolo_coordinator.failover_run import FailoverRun, not_held
from blkcolo_coordinator.group_state import Event, GroupState, advance
from blkcolo_coordinator.headway import Headway
from blkcolo_coordinator.peer_steps import PeerSteps
from blkcolo_coordinator.policy import Observation, Trigger

if TYPE_CHECKING:
    from blkcolo.v1.primary_pb2 import ForwardStatus, VerifyReport
    from blkcolo.v1.secondary_pb2 import CheckpointEntry, ReplicaStatus
    from blkcolo.v1.types_pb2 import Volume
    from blkcolo_coordinator.grpc_peers import PrimaryPeer, SecondaryPeer
    from blkcolo_coordinator.metrics import CoordinatorMetrics
    from blkcolo_coordinator.policy import Policy
    from blkcolo_coordinator.settings import CoordinatorSettings
    from blkcolo_coordinator.store import GroupRecord, Store

_log = structlog.get_logger(__name__)

_F = types_pb2.ForwardState
_STREAM_BEGINS = (_F.FORWARD_STATE_CONNECTING, _F.FORWARD_STATE_RESYNCING)
_ENDED = (GroupState.FAILING_OVER, GroupState.FAILED_OVER)


class Sides(NamedTuple):
    """What both sides last answered; None for one that did not."""

    primary: ForwardStatus | None
    secondary: ReplicaStatus | None


class GroupDriver:
    """Drives one group."""

    def __init__(
        self,
        record: GroupRecord,
        store: Store,
        primary: PrimaryPeer,
        secondary: SecondaryPeer,
        settings: CoordinatorSettings,
        metrics: CoordinatorMetrics,
    ) -> None:
        """Goes on from the record; `start` begins."""
        if record.state is GroupState.PROTECTED:
            # It was, in an earlier run: only a checkpoint of this one says that it is.
            record = replace(record, state=GroupState.STARTING)
        self.record = record
        self.sides = Sides(None, None)
        self.failure: BlkcoloError | None = None
        self.last_run: CheckpointRun | None = None
        self.changed = Wakeup()
        self._store = store
        self._primary = primary
        self._secondary = secondary
        self._settings = settings
        self._metrics = metrics
        self._steps = PeerSteps(primary, secondary, settings)
        self._lock = asyncio.Lock()
        self._wake = Wakeup()
        self._backoff = Backoff()
        self.headway = Headway()
        self._discard_secondary = False
        #: A start was answered, and what became of its stream is not known yet.
        self._start_answered = True
        self._last_at: float | None = None
        self._calls = CheckpointCalls()
        self._task: asyncio.Task[None] | None = None
        self._log = _log.bind(group=record.name)

    def start(self) -> None:
        """Starts the group's task."""
        self._task = asyncio.create_task(self._drive(), name=f"drive {self.name}")

    async def close(self) -> None:
        """Ends the task and both channels; a checkpoint under way is dropped."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._primary.close()
        await self._secondary.close()

    @property
    def name(self) -> str:
        """The group's name."""
        return self.record.name

    async def _drive(self) -> None:
        while True:
            try:
                async with self._lock:
                    await self._tick()
            except BlkcoloError as error:
                self._lost(error)
            except Exception as error:  # noqa: BLE001 - a program error ends nothing
                self._log.exception("program error", exc_info=error)
                self._lost(BlkcoloError(Reason.INTERNAL, f"program error: {error!r}"))
            self.changed.fire()
            await self._wake.wait(self._settings.poll_interval_seconds)

    # One look at the group.

    async def _tick(self) -> None:
        await self._ask_both()
        primary, secondary = self.sides
        self._learn_generation()
        if self.record.state is GroupState.FAILING_OVER:
            await self._fail_over(FailoverRun(self.name, force=False))
        elif self.record.state is GroupState.FAILED_OVER:
            self._watch_flush()
            await self._fence_late()
        elif self.record.state is GroupState.STOPPED:
            self._calls.refuse(self._not_replicating())
        elif primary is not None and secondary is not None:
            await self._replicate(primary, secondary)

    async def _ask_both(self) -> None:
        """Asks both sides at once; an error is kept, the other answer as well."""
        answers = await asyncio.gather(
            self._primary.status(), self._secondary.status(), return_exceptions=True
        )
        errors = [a for a in answers if isinstance(a, BaseException)]
        primary, secondary = answers
        self.sides = Sides(
            None if isinstance(primary, BaseException) else primary,
            None if isinstance(secondary, BaseException) else secondary,
        )
        for error in errors:
            if not isinstance(error, BlkcoloError):
                raise error
            if self.record.state not in (GroupState.STOPPED, *_ENDED):
                self._lost(error)

    def _learn_generation(self) -> None:
        """A side that knows a newer generation is right: our database was lost."""
        known = max((s.generation for s in self.sides if s is not None), default=0)
        if known > self.record.generation:
            self._log.warning(
                "newer generation learnt", generation=known, was=self.record.generation
            )
            self._update(durable=True, generation=known)

    async def _replicate(
        self, primary: ForwardStatus, secondary: ReplicaStatus
    ) -> None:
        if secondary.state in (
            types_pb2.REPLICA_STATE_FAILING_OVER,
            types_pb2.REPLICA_STATE_FAILED_OVER,
        ):
            raise Refused(
                Reason.FAILED_OVER,
                f"group {self.name}: its secondary was failed over by somebody else;"
                " call Failover here as well, to fence the primary",
            )
        if primary.state in _STREAM_BEGINS:
            self._advance(Event.STARTED)
        elif primary.state != _F.FORWARD_STATE_REPLICATING:
            await self._start_replication(primary)
        elif primary.generation != self.record.generation:
            await self._primary.stop(
                self.record.generation,
                drain=True,
                timeout=self._settings.stop_timeout_seconds,
            )
        else:
            if not self.headway.missing:
                self._backoff.reset()
            await self._maybe_checkpoint(primary, secondary)

    async def _start_replication(self, primary: ForwardStatus) -> None:
        """Starts the stream when that is due; says why it is not there."""
        self._last_at = None
        if primary.state == _F.FORWARD_STATE_LOST and primary.HasField("failure"):
            failure = failure_from(primary.failure)
            if self._start_answered:
                self._count_loss(failure)
            self._start_answered = False
            self._lost(self.headway.told(self.name, failure))
        if not self._backoff.may_try(time.monotonic()):
            return
        if primary.state == _F.FORWARD_STATE_FENCED:
            # A failover that was refused half-way has fenced it: a newer generation,
            # stored first, takes that back.
            newer = max(primary.generation + 1, self.record.generation)
            self._update(durable=True, generation=newer)
        try:
            await self._primary.start(
                self.record.generation,
                self.record.secondary_address,
                discard_secondary=self._discard_secondary,
            )
        except BlkcoloError as error:
            self._start_answered = False  # the loss is counted here
            self._backoff.failed(time.monotonic(), error)
            raise
        self._discard_secondary = False
        self._start_answered = True
        self._advance(Event.STARTED)

    def _count_loss(self, failure: BlkcoloError) -> None:
        """A stream that stood is lost; trying again at once may be in vain."""
        if not self.record.paused:
            self.headway.lost()
        if failure.reason in NEEDS_OPERATOR or self.headway.missing:
            self._backoff.failed(time.monotonic(), failure)

    def _lost(self, error: BlkcoloError) -> None:
        """Not protected, and why; logged when that is news."""
        self._last_at = None
        if self.record.state not in (GroupState.STOPPED, *_ENDED):
            if self.failure is None or self.failure.reason is not error.reason:
                self._log.error(
                    "not protected",
                    reason=error.reason.name,
                    error=str(error),
                    epoch=error.epoch,
                    generation=self.record.generation,
                )
                self._metrics.error(self.name, error.reason)
            # Where the store is what failed, it holds in memory alone; a successor
            # asks both sides before it says anything.
            with contextlib.suppress(BlkcoloError):
                self._advance(Event.LOST)
        self.failure = error
        self._calls.refuse(error)

    def _not_replicating(self) -> Refused:
        return Refused(
            Reason.NOT_REPLICATING,
            f"group {self.name} is {self.record.state.name}: a checkpoint needs it to"
            " replicate; resume replication",
        )

    # Checkpoints.

    async def _maybe_checkpoint(
        self, primary: ForwardStatus, secondary: ReplicaStatus
    ) -> None:
        seen = Observation(
            now=time.monotonic(),
            last_at=self._last_at,
            sent_bytes=primary.sent_bytes_in_epoch,
            buffer_bytes=secondary.buffer_bytes,
            called=self._calls.waiting,
            paused=self.record.paused,
        )
        trigger = policy.decide(self.record.policy, seen)
        if trigger is not None:
            await self._checkpoint(primary.epoch, trigger)

    async def _checkpoint(self, epoch: int, trigger: Trigger) -> None:
        """Takes one checkpoint and tells those who called for it."""
        calls = self._calls.take()
        run = CheckpointRun(epoch, self.record.generation)
        self._log.debug("checkpoint", epoch=epoch, trigger=trigger)
        await self._steps.take_checkpoint(run)
        if run.outcome is Outcome.COMMITTED:
            calls.answer(run)
            self._committed(run, trigger)
            return
        failure = run.error or BlkcoloError(Reason.INTERNAL, "no reason")
        self._metrics.checkpoint_failed(self.name, failure.reason)
        calls.refuse(failure)
        self._lost(failure)

    def _committed(self, run: CheckpointRun, trigger: Trigger) -> None:
        """Takes a commit in, and stores it.

        Raises:
            BlkcoloError: the store refused; the checkpoint exists all the same.
        """
        self.last_run = run
        self.headway.committed()
        self._last_at = time.monotonic()
        self._metrics.committed(self.name, run, trigger)
        if run.error is not None:
            self._log.warning(
                "primary missed a commit", epoch=run.epoch, error=str(run.error)
            )
        self._update(
            durable=False,
            committed=run.epoch,
            committed_at=time.time(),
            trigger_name=str(trigger),
            state=advance(self.name, self.record.state, Event.COMMITTED),
        )
        self.failure = None

    async def checkpoint(self, timeout: float) -> CheckpointRun:
        """Takes a checkpoint that begins after this call.

        Raises:
            BlkcoloError: none could be taken within `timeout` seconds, and why.
        """
        if self.record.state in (GroupState.STOPPED, *_ENDED):
            raise self._not_replicating()
        answer = self._calls.add()
        self._wake.fire()
        try:
            async with asyncio.timeout(timeout):
                return await answer
        except TimeoutError as error:
            raise DeadlineMissed(
                Reason.DEADLINE,
                f"group {self.name} took no checkpoint within {timeout:g} s;"
                " ask again, or see its status",
            ) from error

    # Failover.

    async def fail_over(self, *, force: bool, epoch: int | None = None) -> bool:
        """Makes the secondary's disk the VM's disk; True if the primary was fenced.

        Args:
            force: go on without the primary's answer.
            epoch: a kept checkpoint to lead to; by default the last committed one.

        Raises:
            BlkcoloError: refused, or not finished yet; calling again goes on.
        """
        async with self._lock:
            await self._ask_both()
            self._learn_generation()
            if self.record.state is GroupState.FAILED_OVER:
                there = self.sides.secondary
                if there is not None and epoch not in (None, there.committed_epoch):
                    raise not_held(self.name, epoch, {there.committed_epoch})
                await self._steps.retry_flush(self.record.generation)
                primary = self.sides.primary
                return primary is not None and primary.state == _F.FORWARD_STATE_FENCED
            before = self.record.state
            run = FailoverRun(self.name, force, epoch)
            if before is not GroupState.FAILING_OVER:
                self._update(
                    durable=True, state=advance(self.name, before, Event.FAIL_OVER)
                )
            await self._fail_over(run)
        self.changed.fire()
        return run.primary_fenced

    async def _fail_over(self, run: FailoverRun) -> None:
        log = self._log.bind(force=run.force)
        log.warning("failover", generation=self.record.generation)
        await self._steps.fail_over(run, self.record.generation, self._raise_generation)
        if run.error is not None:
            log.error("failover failed", error=str(run.error))
            if not run.ordered:  # the secondary never heard of it
                self._update(
                    durable=True,
                    state=advance(self.name, self.record.state, Event.ABORTED),
                )
            self.failure = run.error
            raise run.error
        self.failure = None
        self._update(
            durable=True, state=advance(self.name, self.record.state, Event.DONE)
        )
        await self._ask_both()
        log.warning("failed over", generation=self.record.generation)

    def _watch_flush(self) -> None:
        """A flush that paused says why; Failover, called again, lets it go on."""
        secondary = self.sides.secondary
        if secondary is not None:
            paused = secondary.HasField("failure")
            self.failure = failure_from(secondary.failure) if paused else None

    async def _fence_late(self) -> None:
        """An old primary that comes back is fenced at once."""
        primary = self.sides.primary
        if primary is not None and primary.state != _F.FORWARD_STATE_FENCED:
            await self._primary.fence(self.record.generation)
            self._log.warning("late fence", generation=self.record.generation)

    # Stop, pause, resume.

    async def stop(self, *, keep_latest: bool) -> None:
        """Ends replication: drained, with a last checkpoint where that is possible.

        A primary that does not answer is left alone; that is kept as the failure.

        Raises:
            BlkcoloError: the secondary did not end it; calling again goes on.
        """
        async with self._lock:
            state = advance(self.name, self.record.state, Event.STOP)
            self.failure = None
            await self._ask_both()
            primary = self.sides.primary
            if primary is not None and primary.state == _F.FORWARD_STATE_REPLICATING:
                await self._checkpoint(primary.epoch, Trigger.STOP)
            unstopped = await self._steps.stop(
                self.record.generation, keep_latest=keep_latest
            )
            self._update(durable=True, state=state)
            self.failure = unstopped
            await self._ask_both()
        self.changed.fire()

    async def pause(self) -> None:
        """Suspends automatic checkpoints."""
        async with self._lock:
            self._update(durable=True, paused=True)
        self.changed.fire()

    async def resume(self, *, discard_secondary: bool = False) -> None:
        """Ends a pause, a stop, or the wait for an operator.

        With `discard_secondary` the next start may overwrite contents of the secondary
        that never came from this group.
        """
        async with self._lock:
            state = advance(self.name, self.record.state, Event.RESUME)
            self._update(durable=True, paused=False, state=state)
            self._backoff.reset()
            self._discard_secondary = discard_secondary
        self._wake.fire()

    async def checkpoints(self) -> list[CheckpointEntry]:
        """Asks the secondary what failover can lead to."""
        return await self._secondary.checkpoints()

    async def verify(self, number: int, timeout: float) -> VerifyReport:
        """Has the primary compare both disks; see PrimaryService.Verify."""
        return await self._primary.verify(self.record.generation, number, timeout)

    async def grow(self, volume: str, size: int) -> Volume:
        """Makes a volume larger, the secondary's first; both must answer.

        Raises:
            BlkcoloError: refused, or not done on both sides; calling again goes on.
        """
        async with self._lock:
            await self._secondary.grow(volume, size, self.record.generation)
            grown = await self._primary.grow(volume, size, self.record.generation)
            self._backoff.reset()
        self._wake.fire()
        return grown

    async def set_policy(self, new: Policy) -> None:
        """Changes when checkpoints are taken."""
        async with self._lock:
            self._update(durable=True, policy=new)

    def _raise_generation(self) -> int:
        self._update(durable=True, generation=self.record.generation + 1)
        return self.record.generation

    def _advance(self, event: Event) -> None:
        state = advance(self.name, self.record.state, event)
        if state is not self.record.state:
            self._update(durable=False, state=state)

    def _update(self, *, durable: bool, **changes: object) -> None:
        """Stores the record, then takes it over.

        What need not be durable is true at once, whatever the store says of it.
        """
        record = replace(self.record, **changes)  # type: ignore[arg-type] # by name
        if not durable:
            self.record = record
        self._store.save(record, durable=durable)
        self.record = record
