"""The coordinator as a simulated process.

Real: the policy, the backoff, the states of a group, and the plan of a checkpoint.
Stands in for the edges `group_driver`, `peer_steps` and `store`: one thing at a time, a
generation stored before anybody hears of it, what is done by the answers of both sides.
Changes of role are the business of `role_runs`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from blkcolo.errors import BlkcoloError, Refused
from blkcolo_coordinator.core import policy
from blkcolo_coordinator.core.backoff import Backoff
from blkcolo_coordinator.core.group_state import ENDED, Event, GroupState
from blkcolo_coordinator.core.policy import Observation, Policy
from blkcolo_coordinator.runs.checkpoint_run import CheckpointRun, Outcome, Step
from blkcolo_primary.core.forward_state import ForwardState
from blkcolo_secondary.core.replica_state import ReplicaState
from blkcolo_secondary.core.stop_plan import StopMode
from tests.sim.calls import COORDINATOR, DEADLINE, Calls
from tests.sim.role_runs import RoleRuns

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sim.calls import Order
    from tests.sim.world import World

_POLICY = Policy(min_interval_seconds=0.05, max_interval_seconds=0.1)
_POLL = 0.05
_FAILED_OVER = (ReplicaState.FAILING_OVER, ReplicaState.FAILED_OVER)


class CoordinatorNode:
    """One life of the coordinator; what it stored outlives it.

    Attributes:
        primary: what the primary last said; None: nothing, or it is not primary.
        secondary: likewise.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.store = world.store
        self.calls = Calls(world)
        self.roles = RoleRuns(self)
        self.primary: dict[str, Any] | None = None
        self.secondary: dict[str, Any] | None = None
        self._waiting = 0
        self._backoff = Backoff()
        self._last_at: float | None = None
        world.later(COORDINATOR, 0.0, self._tick)

    def say(self, text: str) -> None:
        """A line of the trace."""
        self.world.note(COORDINATOR, text)

    def again(self) -> None:
        """Looks at both sides again, soon."""
        self.world.later(COORDINATOR, _POLL, self._tick)

    def _tick(self) -> None:
        """Asks both sides, and decides when both have answered, or have not."""
        self._waiting = 2
        ask = lambda node, answer: answer(node.status())  # noqa: E731 - one line
        self.calls.primary(ask, self._take_primary)
        self.calls.secondary(ask, self._take_secondary)

    def _take_primary(self, answer: Any) -> None:
        self.primary = None if isinstance(answer, BlkcoloError) else answer
        self._answered()

    def _take_secondary(self, answer: Any) -> None:
        self.secondary = None if isinstance(answer, BlkcoloError) else answer
        self._answered()

    def _answered(self) -> None:
        self._waiting -= 1
        if self._waiting == 0:
            self._decide()

    def _decide(self) -> None:
        answers = [a for a in (self.primary, self.secondary) if a is not None]
        known = max((a["generation"] for a in answers), default=0)
        store = self.store
        store.generation = max(store.generation, known)
        if self.secondary is not None and self.secondary["paused"]:
            self._retry_flush(ended=self.secondary["state"] in _FAILED_OVER)
        elif store.orders and store.state is not GroupState.FAILING_OVER:
            self._obey(store.orders.popleft())
        elif store.state in ENDED:
            self.roles.go_on()
        elif store.state is GroupState.STOPPED:
            self.again()
        elif self.primary is not None and self.secondary is not None:
            self._replicate(self.primary, self.secondary)
        else:
            self._last_at = None
            self.again()

    def _obey(self, order: Order) -> None:
        try:
            order(self)
        except Refused as error:
            self.say(f"order refused: {error}")
            self.again()

    def _replicate(self, primary: dict[str, Any], secondary: dict[str, Any]) -> None:
        now, state = self.world.clock.now, primary["state"]
        if secondary["state"] in _FAILED_OVER:
            self.again()  # by somebody else: only an operator knows what to do
        elif state in (ForwardState.CONNECTING, ForwardState.RESYNCING):
            self.again()
        elif state is not ForwardState.REPLICATING:
            self._start(primary)
        elif primary["generation"] != self.store.generation:
            self._stop_primary(lambda _answer: self.again())
        else:
            self._backoff.reset()
            seen = Observation(
                now, self._last_at, primary["sent"], secondary["buffer"], called=False
            )
            if policy.decide(_POLICY, seen) is None:
                self.again()
            else:
                run = CheckpointRun(primary["epoch"], self.store.generation)
                self.checkpoint(run, self.again)

    def _start(self, primary: dict[str, Any]) -> None:
        self._last_at = None
        now, store = self.world.clock.now, self.store
        if not self._backoff.may_try(now):
            self.again()
            return
        if primary["state"] is ForwardState.FENCED:
            store.generation = max(primary["generation"] + 1, store.generation)
            self.say(f"generation {store.generation}")
        generation = store.generation

        def done(answer: Any) -> None:
            if isinstance(answer, BlkcoloError):
                self.say(f"start failed: {answer}")
                self._backoff.failed(now, answer)
            else:
                store.state = store.after(Event.STARTED)
            self.again()

        mark = primary["stop_mark"]
        self.calls.primary(
            lambda node, answer: answer(node.start(generation, mark, now)), done
        )

    def start_soon(self) -> None:
        """An operator asks for the next start."""
        self._last_at = None
        self._backoff.reset()

    # Checkpoints.

    def checkpoint(self, run: CheckpointRun, then: Callable[[], None]) -> None:
        """Takes the run to its outcome; `then` comes behind it."""
        if run.step is None:
            self._checkpoint_ended(run)
            then()
            return
        epoch, generation, step = run.epoch, run.generation, run.step
        deadline = self.world.clock.now + DEADLINE - 0.1

        def done(answer: Any) -> None:
            if isinstance(answer, BlkcoloError):
                run.failed(0.0, answer)
            else:
                run.succeeded(0.0, answer if isinstance(answer, int) else 0)
            self.checkpoint(run, then)

        def serve(node: Any, answer: Callable[[Any], None]) -> None:
            match step:
                case Step.PREPARE_PRIMARY:
                    answer(node.prepare(epoch, generation))
                case Step.PREPARE_SECONDARY:
                    node.prepare(epoch, generation, deadline, answer)
                case Step.DO_SECONDARY:
                    node.do_checkpoint(epoch, generation, answer)
                case _:
                    answer(node.do_checkpoint(epoch, generation))

        of_primary = step in (Step.PREPARE_PRIMARY, Step.DO_PRIMARY)
        call = self.calls.primary if of_primary else self.calls.secondary
        call(serve, done)

    def _checkpoint_ended(self, run: CheckpointRun) -> None:
        name = run.outcome.name if run.outcome else ""
        self.say(f"checkpoint {run.epoch} {name} {run.error or ''}")
        self._last_at = self.world.clock.now if run.error is None else None
        if run.outcome is Outcome.COMMITTED:
            self.store.state = self.store.after(Event.COMMITTED)

    # The end.

    def _retry_flush(self, *, ended: bool) -> None:
        """As an operator does that is told of a paused flush: the same call again."""
        generation = self.store.generation

        def serve(node: Any, answer: Callable[[Any], None]) -> None:
            if ended:
                node.fail_over(generation, None, answer)
            else:
                node.stop(StopMode.ROLLBACK, generation, answer)

        self.calls.secondary(serve, lambda _answer: self.again())

    def _stop_primary(self, done: Callable[[Any], None]) -> None:
        generation = self.store.generation
        deadline = self.world.clock.now + DEADLINE - 0.1
        self.calls.primary(
            lambda node, answer: node.stop(generation, deadline, answer), done
        )

    def order_stop(self, mode: StopMode) -> None:
        """Stops the primary, then the secondary; ordered again where that fails."""
        self.say(f"stop ordered: {mode.name}")
        generation, stopped = self.store.generation, self.store.after(Event.STOP)

        def primary_stopped(_answer: Any) -> None:
            self.calls.secondary(
                lambda node, answer: node.stop(mode, generation, answer),
                secondary_stopped,
            )

        def secondary_stopped(answer: Any) -> None:
            if isinstance(answer, BlkcoloError):
                self.say(f"stop failed: {answer}")
            else:
                self.store.state = stopped
            self.again()

        self._stop_primary(primary_stopped)

    def resume(self) -> None:
        """ResumeReplication."""
        if self.store.state is GroupState.STOPPED:
            self.say("resume ordered")
            self.store.state = self.store.after(Event.RESUME)
            self._backoff.reset()
