"""Changes of role at run time: reprotect, switchover, failback; and what goes on.

Each is a plan (`reprotect_run`, `switchover_run`); here its steps are carried out and
what must outlive this process is stored. Failovers have a room of their own
(`failovers`). All of it runs under the driver's lock; what a call leaves unfinished,
`go_on` takes up at the next look.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from blkcolo.errors import BlkcoloError, Reason, Refused
from blkcolo_coordinator.core.group_state import Event, GroupState
from blkcolo_coordinator.core.policy import Trigger
from blkcolo_coordinator.runs import reprotect_run, switchover_run
from blkcolo_coordinator.runs.checkpoint_run import Outcome
from blkcolo_coordinator.runs.reprotect_cost import reprotect_cost
from blkcolo_coordinator.runs.reprotect_run import ReprotectRun
from blkcolo_coordinator.runs.roles import Cost, Side
from blkcolo_coordinator.runs.switchover_run import SwitchoverRun
from blkcolo_coordinator.runtime.failovers import Failovers

if TYPE_CHECKING:
    from blkcolo_coordinator.peers.peer_steps import PeerSteps
    from blkcolo_coordinator.runs.roles import NodeView
    from blkcolo_coordinator.runtime.checkpointer import Checkpointer
    from blkcolo_coordinator.runtime.driven_group import DrivenGroup

_NOTHING = Cost(None, "", 0.0, 0, 0)


class RoleChanges:
    """The changes of role of one group.

    Attributes:
        failovers: those that make the secondary's disk the VM's.
    """

    def __init__(
        self, group: DrivenGroup, steps: PeerSteps, checkpoints: Checkpointer
    ) -> None:
        """Takes the group, and what carries failovers and checkpoints out."""
        self.failovers = Failovers(group, steps)
        self._group = group
        self._steps = steps
        self._checkpoints = checkpoints

    async def go_on(self) -> None:
        """Takes up what is unfinished; both sides were asked before.

        Raises:
            BlkcoloError: it is still unfinished, and why.
        """
        group = self._group
        match group.record.state:
            case GroupState.FAILING_OVER:
                await self.failovers.go_on()
            case GroupState.FAILED_OVER:
                await self.failovers.look_after()
            case GroupState.SWITCHING_OVER:
                await self._go_on_switching_over()
            case GroupState.REPROTECTING:
                await self._reprotect(self._ordered())
            case _:
                pass

    # Reprotect.

    async def reprotect(self, discard: Side | None, *, dry_run: bool) -> Cost:
        """After a failover: makes the old primary the secondary of the survivor.

        Args:
            discard: the side whose writes may be given up; where that is the
                survivor, the old primary stays the primary instead.
            dry_run: only say what it costs.

        Raises:
            BlkcoloError: refused, or not finished yet; the driver goes on.
        """
        group = self._group
        group.after(Event.REPROTECT)
        loser = discard or Side.PRIMARY
        if dry_run:
            return self._cost(*await group.pair.views(), loser)
        return await self._reprotect(ReprotectRun(group.name, loser, bool(discard)))

    def _ordered(self) -> ReprotectRun:
        record = self._group.record
        loser = Side(record.loser or Side.PRIMARY)
        return ReprotectRun(record.name, loser, ordered=True)

    def _cost(self, old_primary: NodeView, survivor: NodeView, loser: Side) -> Cost:
        record, now = self._group.record, time.time()
        return reprotect_cost(record, old_primary, survivor, loser, now)

    async def _reprotect(self, run: ReprotectRun) -> Cost:
        price = _NOTHING
        while run.step is not None:
            try:
                if run.step is reprotect_run.Step.ASK_BOTH:
                    old_primary, survivor = await self._group.pair.views()
                    price = self._cost(old_primary, survivor, run.loser)
                    run.both_answered(old_primary, survivor, price)
                else:
                    await self._reprotect_step(run, run.step)
            except BlkcoloError as error:
                run.fail(error)
        if run.error is not None:
            raise run.error
        self._group.failure = None
        await self._group.ask_both()
        self._group.log.warning(
            "reprotect",
            primary=self._group.pair.primary_address,
            secondary=self._group.pair.secondary_address,
            generation=self._group.record.generation,
        )
        return price

    async def _reprotect_step(
        self, run: ReprotectRun, step: reprotect_run.Step
    ) -> None:
        group = self._group
        pair, generation = group.pair, group.record.generation
        match step:
            case reprotect_run.Step.RAISE_GENERATION:
                group.update(
                    durable=True,
                    generation=generation + 1,
                    state=group.after(Event.REPROTECT),
                    loser=int(run.loser),
                )
                run.generation_raised()
            case reprotect_run.Step.DEMOTE:
                loses = run.loser is Side.PRIMARY
                node = pair.primary_node if loses else pair.secondary_node
                await node.demote(generation)
                run.demoted()
            case reprotect_run.Step.PROMOTE:
                await pair.secondary_node.promote(generation)
                run.promoted()
            case _:
                self._store_roles(run.loser)
                run.finished()

    def _store_roles(self, loser: Side) -> None:
        group = self._group
        changes = {
            "state": group.after(Event.ROLES_CHANGED),
            "loser": 0,
            "fenced_clean": False,
            "committed": None,  # the new secondary has none yet
            "committed_at": 0.0,
        }
        if loser is Side.PRIMARY:
            group.swap_roles(**changes)
        else:
            group.update(durable=True, **changes)
        self._checkpoints.starts_anew()

    # Switchover and failback.

    async def switch_over(self, *, dry_run: bool) -> Cost:
        """Swaps the roles; no write that was answered is lost.

        Raises:
            BlkcoloError: refused, or not finished yet; the driver goes on.
        """
        group = self._group
        state = group.record.state
        if state is not GroupState.PROTECTED:
            then = "reprotect it" if state is GroupState.FAILED_OVER else "wait for it"
            raise Refused(
                Reason.WRONG_STATE,
                f"group {group.name} is {state.name}: a switchover needs it to be"
                f" PROTECTED; {then}",
            )
        if dry_run:
            return _NOTHING
        await self._switch_over(SwitchoverRun(group.name))
        return await self._reprotect_when_flushed()

    async def fail_back(self, *, dry_run: bool) -> Cost:
        """Switches over to the side that the configuration calls primary.

        Raises:
            BlkcoloError: it is the primary, or as `switch_over`.
        """
        record = self._group.record
        if not record.reversed and record.state is not GroupState.FAILED_OVER:
            raise Refused(
                Reason.WRONG_STATE,
                f"group {record.name}: its primary is {record.primary_address}, as"
                " configured; a failback follows a failover or a switchover",
            )
        return await self.switch_over(dry_run=dry_run)

    async def _go_on_switching_over(self) -> None:
        group = self._group
        primary = group.sides.primary
        run = SwitchoverRun.resumed(
            group.name,
            group.record.generation,
            fenced=group.record.fenced_clean,
            primary=group.pair.view_of_primary(primary) if primary else None,
        )
        if run.aborted:
            await self._abort()
        elif run.step is None:
            raise Refused(
                Reason.PEER_UNREACHABLE,
                f"group {group.name}: {group.pair.primary_address} does not say"
                " whether it is fenced; let it answer, or fail over with force",
            )
        else:
            await self._switch_over(run)

    async def _switch_over(self, run: SwitchoverRun) -> None:
        while run.step is not None:
            try:
                await self._switchover_step(run, run.step)
            except BlkcoloError as error:
                run.fail(error)
        if run.error is None:
            return
        self._group.log.error("switchover failed", error=str(run.error))
        if run.aborted:
            await self._abort(run.error)
        raise run.error

    async def _abort(self, why: BlkcoloError | None = None) -> None:
        """The old roles go on: VM writes as well."""
        group = self._group
        if group.record.state is GroupState.SWITCHING_OVER:
            group.update(why, durable=True, state=group.after(Event.ABORTED))
        try:
            await group.pair.primary.hold(group.record.generation, 0.0)
        except BlkcoloError as error:  # the hold ends by itself
            group.log.warning("hold not released", error=str(error))

    async def _switchover_step(
        self, run: SwitchoverRun, step: switchover_run.Step
    ) -> None:
        group = self._group
        primary, generation = group.pair.primary, group.record.generation
        match step:
            case switchover_run.Step.HOLD:
                await primary.hold(generation, group.settings.hold_seconds)
                run.held()
            case switchover_run.Step.CHECKPOINT:
                run.checkpointed(await self._last_checkpoint())
            case switchover_run.Step.RAISE_GENERATION:
                group.update(
                    durable=True,
                    generation=generation + 1,
                    state=group.after(Event.SWITCH_OVER),
                    fenced_clean=False,
                )
                run.generation_raised()
            case switchover_run.Step.FENCE:
                await primary.fence(generation, run.epoch)
                run.fenced()
            case switchover_run.Step.STOP_SECONDARY:
                if not group.record.fenced_clean:  # stored first: see `failover_run`
                    group.update(durable=True, fenced_clean=True)
                await self._steps.fail_over_secondary(generation)
                group.update(
                    durable=True,
                    state=group.after(Event.DONE),
                    loser=int(Side.PRIMARY),
                    failed_over_at=time.time(),
                )
                run.stopped()

    async def _last_checkpoint(self) -> int:
        status = await self._group.pair.primary.status()
        taken = await self._checkpoints.take(status.epoch, Trigger.SWITCHOVER)
        if taken.outcome is not Outcome.COMMITTED:
            raise taken.error or BlkcoloError(Reason.INTERNAL, "no reason")
        return taken.epoch

    async def _reprotect_when_flushed(self) -> Cost:
        """There is next to nothing to flush behind a checkpoint; but it may pause."""
        settings = self._group.settings
        deadline = time.monotonic() + settings.stop_timeout_seconds
        while True:
            try:
                return await self._reprotect(self._ordered())
            except BlkcoloError:
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(settings.poll_interval_seconds)
