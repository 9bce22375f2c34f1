"""Failover, reprotect and switchover of the simulated coordinator.

Real: their plans, the states of a group, and what a change costs. Stands in for the
edges `failovers` and `role_changes`: the steps are carried out, and what must outlive
the process is stored with them; what is left unfinished, `go_on` takes up at the next
look.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from blkcolo.errors import BlkcoloError, Reason
from blkcolo_coordinator.core.group_state import Event, GroupState
from blkcolo_coordinator.runs import failover_run, reprotect_run, switchover_run
from blkcolo_coordinator.runs.checkpoint_run import CheckpointRun, Outcome
from blkcolo_coordinator.runs.failover_run import FailoverRun
from blkcolo_coordinator.runs.reprotect_run import ReprotectRun
from blkcolo_coordinator.runs.roles import Cost, Side, cost
from blkcolo_coordinator.runs.switchover_run import SwitchoverRun
from blkcolo_primary.core.forward_state import ForwardState
from blkcolo_secondary.core.replica_state import ReplicaState
from tests.sim.calls import COORDINATOR

if TYPE_CHECKING:
    from collections.abc import Callable

    from blkcolo_coordinator.runs.roles import NodeView
    from tests.sim.coordinator_node import CoordinatorNode

_FAILED_OVER = (ReplicaState.FAILING_OVER, ReplicaState.FAILED_OVER)
_NOTHING = Cost(None, "", 0.0, 0, 0)
#: VM writes are held for so many seconds at most.
_HOLD = 1.5


class RoleRuns:
    """The changes of role of one life of the coordinator."""

    def __init__(self, coordinator: CoordinatorNode) -> None:
        self._coordinator = coordinator
        self._store = coordinator.store
        self._calls = coordinator.calls
        self._world = coordinator.world

    def go_on(self) -> None:
        """Takes up what is unfinished; both sides were asked before."""
        match self._store.state:
            case GroupState.FAILING_OVER:
                self._fail_over(self._failover(ordered=True))
            case GroupState.FAILED_OVER:
                self._fence_late()
            case GroupState.SWITCHING_OVER:
                self._go_on_switching_over()
            case _:
                run = ReprotectRun("vm", self._store.loser, ordered=True)
                self._reprotect(run)

    def _stored(self) -> None:
        """A good moment for the coordinator to die."""
        self._coordinator.say(
            f"{self._store.state.name} in generation {self._store.generation}"
        )
        self._world.faults.moment(COORDINATOR, weight=4)
        self._world.faults.lonely(self._store.primary)

    def _count(self, what: str) -> None:
        self._coordinator.say(what)
        self._world.tally[what] += 1

    # Failover.

    def order_failover(self, *, force: bool, older: bool) -> None:
        """Failover, to the oldest kept checkpoint or to the committed one."""
        store, seen = self._store, self._coordinator
        kept = seen.secondary["kept"] if seen.secondary is not None else []
        epoch = kept[0] if older and kept else None
        seen.say(f"failover ordered, force={force}, checkpoint {epoch or 'committed'}")
        store.state = store.after(Event.FAIL_OVER)
        store.failover_to, store.failover_forced = epoch, force
        self._world.oracle.fails_over()
        if seen.primary and seen.primary["state"] is ForwardState.RESYNCING:
            self._world.tally["failover ordered while resyncing"] += 1
        self._fail_over(self._failover(ordered=False))

    def _failover(self, *, ordered: bool) -> FailoverRun:
        store = self._store
        return FailoverRun(
            "vm",
            store.failover_forced,
            store.failover_to,
            primary_fenced=store.fenced_clean,
            ordered=ordered,
        )

    def _fail_over(self, run: FailoverRun) -> None:
        store, calls = self._store, self._calls
        if run.step is failover_run.Step.RAISE_GENERATION:
            store.generation += 1
            self._stored()
            run.generation_raised()
        generation = store.generation
        match run.step:
            case None:
                self._failover_ended(run)
            case failover_run.Step.ASK_SECONDARY:
                calls.secondary(
                    lambda node, answer: answer(node.status()),
                    lambda answer: self._secondary_answered(run, answer),
                )
            case failover_run.Step.FENCE_PRIMARY:

                def fenced(answer: Any) -> None:
                    failed = isinstance(answer, BlkcoloError)
                    run.fence_answered(answer if failed else None)
                    self._fail_over(run)

                calls.primary(
                    lambda node, answer: answer(node.fence(generation)), fenced
                )
            case _:
                calls.secondary(
                    lambda node, answer: node.fail_over(generation, run.epoch, answer),
                    self._then(run, run.stopped, lambda: self._fail_over(run)),
                )

    def _secondary_answered(self, run: FailoverRun, answer: Any) -> None:
        if isinstance(answer, BlkcoloError):
            run.fail(answer)
        else:
            run.secondary_answered(
                answer["committed"],
                answer["kept"],
                failed_over=answer["state"] in _FAILED_OVER,
                fenced=answer["generation"] >= self._store.generation,
                discarded=answer["discarded"],
                stopped=answer["state"] is ReplicaState.STOPPED,
            )
        self._fail_over(run)

    def _failover_ended(self, run: FailoverRun) -> None:
        if run.error is None:
            self._store.state = self._store.after(Event.DONE)
            self._store.fenced_clean = False
            if self._store.failover_to is not None:
                self._store.failover_to = run.leads_to
            self._count("failover" if run.leads_to is not None else "discarded served")
        elif not run.ordered:
            self._store.state = self._store.after(Event.ABORTED)
            self._store.fenced_clean = False
        self._coordinator.say(f"failover ends: {run.error or 'done'}")
        self._coordinator.again()

    def _fence_late(self) -> None:
        """Fences an old primary that comes back."""
        generation, primary = self._store.generation, self._coordinator.primary
        if primary is None or primary["state"] is ForwardState.FENCED:
            self._coordinator.again()
            return
        self._calls.primary(
            lambda node, answer: answer(node.fence(generation)),
            lambda _answer: self._coordinator.again(),
        )

    # Reprotect.

    def order_reprotect(self, discard: Side | None) -> None:
        """Reprotect; None: nobody may lose anything."""
        self._store.after(Event.REPROTECT)
        self._reprotect(ReprotectRun("vm", discard or Side.PRIMARY, bool(discard)))

    def _reprotect(self, run: ReprotectRun) -> None:
        store, calls = self._store, self._calls
        if run.step is reprotect_run.Step.RAISE_GENERATION:
            store.state = store.after(Event.REPROTECT)
            store.generation, store.loser = store.generation + 1, run.loser
            self._stored()
            run.generation_raised()
        elif run.step is reprotect_run.Step.FINISH:
            self._store_roles(run.loser)
            run.finished()
        generation = store.generation
        on = lambda: self._reprotect(run)  # noqa: E731 - one line
        match run.step:
            case None:
                self._coordinator.say(f"reprotect ends: {run.error or 'done'}")
                self._coordinator.again()
            case reprotect_run.Step.ASK_BOTH:
                self._ask_both(run)
            case reprotect_run.Step.DEMOTE:
                loses = run.loser is Side.PRIMARY
                calls.host(
                    store.primary if loses else store.secondary,
                    lambda node, answer: answer(node.demote(generation)),
                    self._then(run, run.demoted, on),
                )
            case _:
                calls.host(
                    store.secondary,
                    lambda node, answer: answer(node.promote(generation)),
                    self._then(run, run.promoted, on),
                )

    def _ask_both(self, run: ReprotectRun) -> None:
        ask = lambda node, answer: answer(node.view())  # noqa: E731 - one line

        def first(old_primary: Any) -> None:
            def second(survivor: Any) -> None:
                error = next(
                    (a for a in (old_primary, survivor) if isinstance(a, BlkcoloError)),
                    None,
                )
                if error is not None:
                    run.fail(error)
                else:
                    price = self._price(old_primary, survivor, run.loser)
                    run.both_answered(old_primary, survivor, price)
                self._reprotect(run)

            self._calls.host(self._store.secondary, ask, second)

        self._calls.host(self._store.primary, ask, first)

    def _price(self, old_primary: NodeView, survivor: NodeView, loser: Side) -> Cost:
        if self._store.fenced_clean and loser is Side.PRIMARY:
            return _NOTHING
        return cost(
            old_primary,
            survivor,
            loser,
            committed_at=0.0,
            failed_over_at=0.0,
            now=self._world.clock.now,
            chosen=self._store.failover_to is not None,
        )

    def _store_roles(self, loser: Side) -> None:
        store = self._store
        store.state, store.fenced_clean = store.after(Event.ROLES_CHANGED), False
        if loser is Side.PRIMARY:
            store.primary, store.secondary = store.secondary, store.primary
        self._count(f"reprotect, {loser.word} loses")
        self._coordinator.start_soon()
        self._stored()

    # Switchover; a failback is one that leads home.

    def order_switchover(self) -> None:
        """Swaps the roles; no write that was answered is lost."""
        if self._store.state is not GroupState.PROTECTED:
            self._coordinator.again()
            return
        self._coordinator.say("switchover ordered")
        self._switch_over(SwitchoverRun("vm"))

    def _switch_over(self, run: SwitchoverRun) -> None:
        store, calls = self._store, self._calls
        if run.step is switchover_run.Step.RAISE_GENERATION:
            self._world.oracle.fails_over()
            store.state = store.after(Event.SWITCH_OVER)
            store.generation, store.fenced_clean = store.generation + 1, False
            self._stored()
            run.generation_raised()
        generation = store.generation
        on = lambda: self._switch_over(run)  # noqa: E731 - one line
        match run.step:
            case None:
                self._switchover_ended(run)
            case switchover_run.Step.HOLD:
                calls.primary(
                    lambda node, answer: answer(node.hold(generation, _HOLD)),
                    self._then(run, run.held, on),
                )
            case switchover_run.Step.CHECKPOINT:
                calls.primary(
                    lambda node, answer: answer(node.status()),
                    lambda answer: self._last_checkpoint(run, answer),
                )
            case switchover_run.Step.FENCE:
                calls.primary(
                    lambda node, answer: answer(node.fence(generation, run.epoch)),
                    self._then(run, run.fenced, on),
                )
            case _:
                if not store.fenced_clean:
                    store.fenced_clean = True
                    self._stored()
                self._stop_secondary(run, generation)

    def _stop_secondary(self, run: SwitchoverRun, generation: int) -> None:
        faults, secondary = self._world.faults, self._store.secondary

        def stop(node: Any, answer: Callable[[Any], None]) -> None:
            node.receiving().fail_over(generation, None, answer)

        faults.lonely_soon(secondary)
        late = faults.late(secondary, stop)
        self._calls.host(
            secondary,
            (lambda _node, _answer: None) if late else stop,
            self._then(run, lambda: self._stopped(run), lambda: self._switch_over(run)),
        )

    def _last_checkpoint(self, run: SwitchoverRun, status: Any) -> None:
        if isinstance(status, BlkcoloError):
            run.fail(status)
            self._switch_over(run)
            return
        last = CheckpointRun(status["epoch"], self._store.generation)

        def taken() -> None:
            if last.outcome is Outcome.COMMITTED:
                run.checkpointed(last.epoch)
            else:
                run.fail(last.error or BlkcoloError(Reason.INTERNAL, "no reason"))
            self._switch_over(run)

        self._coordinator.checkpoint(last, taken)

    def _stopped(self, run: SwitchoverRun) -> None:
        self._world.oracle.switched_over()
        self._store.state = self._store.after(Event.DONE)
        self._store.loser = Side.PRIMARY
        self._count("switchover")
        self._stored()
        run.stopped()

    def _switchover_ended(self, run: SwitchoverRun) -> None:
        self._coordinator.say(f"switchover ends: {run.error or 'done'}")
        if run.aborted:
            self._abort()
        else:
            if run.error is not None and self._store.fenced_clean:
                self._world.orders.switchover_failed()
            self._coordinator.again()

    def _abort(self) -> None:
        """The old roles go on: VM writes as well."""
        store = self._store
        if store.state is GroupState.SWITCHING_OVER:
            store.state = store.after(Event.ABORTED)
        generation = store.generation
        self._calls.primary(
            lambda node, answer: answer(node.hold(generation, 0.0)),
            lambda _answer: self._coordinator.again(),
        )

    def _go_on_switching_over(self) -> None:
        self._calls.primary(
            lambda node, answer: answer(node.view()), self._primary_answered
        )

    def _primary_answered(self, answer: Any) -> None:
        run = SwitchoverRun.resumed(
            "vm",
            self._store.generation,
            fenced=self._store.fenced_clean,
            primary=None if isinstance(answer, BlkcoloError) else answer,
        )
        if run.step is not None:
            self._switch_over(run)
        else:
            self._switchover_ended(run)

    def _then(
        self,
        run: FailoverRun | ReprotectRun | SwitchoverRun,
        succeeded: Callable[[], None],
        on: Callable[[], None],
    ) -> Callable[[Any], None]:
        def done(answer: Any) -> None:
            if isinstance(answer, BlkcoloError):
                run.fail(answer)
            else:
                succeeded()
            on()

        return done
