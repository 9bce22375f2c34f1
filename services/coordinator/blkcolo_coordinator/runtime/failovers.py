"""Failovers at run time: ordered, gone on with, and watched until they are flushed.

The plan is `failover_run`; here its steps are carried out, and what must outlive this
process is stored. All of it runs under the driver's lock.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NoReturn

from blkcolo.rpc.errors import failure_from
from blkcolo.v1 import types_pb2
from blkcolo_coordinator.core.group_state import Event, GroupState
from blkcolo_coordinator.peers.node_views import FAILED_OVER
from blkcolo_coordinator.runs.failover_run import FailoverRun, not_held

if TYPE_CHECKING:
    from blkcolo_coordinator.peers.peer_steps import PeerSteps
    from blkcolo_coordinator.runtime.driven_group import DrivenGroup

_FENCED = types_pb2.FORWARD_STATE_FENCED


class Failovers:
    """The failovers of one group."""

    def __init__(self, group: DrivenGroup, steps: PeerSteps) -> None:
        """Takes the group, and what carries the steps out."""
        self._group = group
        self._steps = steps

    async def go_on(self) -> None:
        """Goes on with one that is not finished; both sides were asked before.

        Raises:
            BlkcoloError: it is still unfinished, and why.
        """
        await self._fail_over(self._failover(ordered=True))

    async def look_after(self) -> None:
        """After one: a flush that paused says why, and an old primary is fenced.

        Raises:
            BlkcoloError: it is there again, and could not be fenced.
        """
        self._watch_flush()
        await self._fence_late()

    async def fail_over(self, *, force: bool, epoch: int | None) -> bool:
        """Makes the secondary's disk the VM's disk; True if the primary was fenced.

        Args:
            force: go on without the primary's answer.
            epoch: a kept checkpoint to lead to; None: the last committed one, or what
                a failover that is not finished yet was asked for; in any case where
                the secondary is failed over to already.

        Raises:
            BlkcoloError: refused, or not finished yet; calling again goes on.
        """
        group = self._group
        await group.ask_both()
        self._check_may_lead_to(epoch)
        if group.record.state is GroupState.FAILED_OVER:
            await self._steps.fail_over_secondary(group.record.generation)
            primary = group.sides.primary
            return primary is not None and primary.state == _FENCED
        goes_on = group.record.state is GroupState.FAILING_OVER
        wanted = epoch
        if not goes_on:
            group.after(Event.FAIL_OVER)  # or raises
        else:  # once it was forced, it stays so
            wanted = group.record.failover_to if epoch is None else epoch
            force = force or group.record.failover_forced
        group.update(
            durable=True,
            state=GroupState.FAILING_OVER,
            failover_to=wanted,
            failover_forced=force,
        )
        run = self._failover(ordered=goes_on)
        await self._fail_over(run)
        if epoch not in (None, run.leads_to):
            self._refuse(epoch, run.leads_to)
        return run.primary_fenced

    def _check_may_lead_to(self, epoch: int | None) -> None:
        """Raises Refused where the secondary is failed over to another checkpoint."""
        there = self._group.sides.secondary
        if epoch is None or there is None or there.state not in FAILED_OVER:
            return
        shown = there.committed_epoch if there.HasField("committed_epoch") else None
        if epoch != shown:
            self._refuse(epoch, shown)

    def _refuse(self, epoch: int | None, shown: int | None) -> NoReturn:
        raise not_held(self._group.name, epoch, set() if shown is None else {shown})

    def _failover(self, *, ordered: bool) -> FailoverRun:
        record = self._group.record
        return FailoverRun(
            record.name,
            record.failover_forced,
            record.failover_to,
            primary_fenced=record.fenced_clean,
            ordered=ordered,
        )

    async def _fail_over(self, run: FailoverRun) -> None:
        group = self._group
        log = group.log.bind(force=run.force)
        log.warning("failover", generation=group.record.generation)
        before = group.record.committed_at
        await self._steps.fail_over(
            run, group.record.generation, lambda: self._raise_generation(run)
        )
        if run.error is not None:
            log.error("failover failed", error=str(run.error))
            if not run.ordered:  # the secondary never heard of it
                state = group.after(Event.ABORTED)
                group.update(
                    run.error,
                    durable=True,
                    state=state,
                    fenced_clean=False,
                    committed_at=before,
                )
            group.failure = run.error
            raise run.error
        group.failure = None
        asked = group.record.failover_to
        group.update(
            durable=True,
            state=group.after(Event.DONE),
            failover_to=None if asked is None else run.leads_to,
            fenced_clean=False,
            failed_over_at=time.time(),
            committed=run.leads_to,
            committed_at=run.committed_at or group.record.committed_at,
        )
        await group.ask_both()
        generation = group.record.generation
        log.warning("failed over", generation=generation, to=run.leads_to, asked=asked)

    def _raise_generation(self, run: FailoverRun) -> int:
        """Stores it, with the age of the checkpoint: later nobody knows that any more.

        A secondary that was failed over lists no checkpoints. What it held before it
        was to be a copy is as old as the failover that took the VM away from it.
        """
        record = self._group.record
        known = record.committed_at
        if run.leads_to is None:
            known = record.failed_over_at
        return self._group.raise_generation(committed_at=run.committed_at or known)

    def _watch_flush(self) -> None:
        """A flush that paused says why; Failover, called again, lets it go on."""
        secondary = self._group.sides.secondary
        if secondary is not None:
            paused = secondary.HasField("failure")
            self._group.failure = failure_from(secondary.failure) if paused else None

    async def _fence_late(self) -> None:
        """An old primary that comes back is fenced at once."""
        group = self._group
        primary = group.sides.primary
        if primary is not None and primary.state != _FENCED:
            await group.pair.primary.fence(group.record.generation)
            group.log.warning("late fence", generation=group.record.generation)
