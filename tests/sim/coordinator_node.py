"""The coordinator as a simulated process.

Real: the policy, the backoff, and the plans of a checkpoint and a failover. Stands in
for the edges `group_driver`, `peer_steps` and `store`: one thing at a time, a
generation stored before anybody hears of it, what is done by the answers of both sides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from blkcolo.errors import BlkcoloError
from blkcolo_coordinator import policy
from blkcolo_coordinator.backoff import Backoff
from blkcolo_coordinator.checkpoint_run import CheckpointRun, Step
from blkcolo_coordinator.failover_run import FailoverRun
from blkcolo_coordinator.failover_run import Step as FailoverStep
from blkcolo_coordinator.group_state import GroupState
from blkcolo_coordinator.policy import Observation, Policy
from blkcolo_primary.forward_state import ForwardState
from blkcolo_secondary.replica_state import ReplicaState
from blkcolo_secondary.stop_plan import StopMode

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sim.host import HostNode
    from tests.sim.world import World

    _Serve = Callable[[Any, Callable[[Any], None]], None]

_POLICY = Policy(min_interval_seconds=0.05, max_interval_seconds=0.1)
#: What the process is called.
COORDINATOR = "coordinator"
_CALL = 0.5
_POLL = 0.05
_FAILED_OVER = (ReplicaState.FAILING_OVER, ReplicaState.FAILED_OVER)


class CoordinatorNode:
    """One life of the coordinator; what it stored outlives it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.store = world.coordinator_store
        self.primary: dict[str, Any] | None = None
        self.secondary: dict[str, Any] | None = None
        self._waiting = 0
        self._backoff = Backoff()
        self._last_at: float | None = None
        world.later(COORDINATOR, 0.0, self.tick)

    @property
    def generation(self) -> int:
        return int(self.store["generation"])

    def tick(self) -> None:
        """Asks both sides, and decides when both have answered, or have not."""
        self._waiting = 2
        self._ask_primary(self._take_primary)
        self._ask_secondary(self._take_secondary)

    def _say(self, text: str) -> None:
        self.world.note(COORDINATOR, text)

    def _raise_generation(self) -> None:
        self.store["generation"] = self.generation + 1
        self._say(f"generation {self.generation}")

    def _again(self) -> None:
        self.world.later(COORDINATOR, _POLL, self.tick)

    def _to_primary(self, serve: _Serve, done: Callable[[Any], None]) -> None:
        def work(node: HostNode, answer: Callable[[Any], None]) -> None:
            serve(node.forwarding(), answer)

        self.world.call(self.store["primary"], work, done, _CALL)

    def _to_secondary(self, serve: _Serve, done: Callable[[Any], None]) -> None:
        def work(node: HostNode, answer: Callable[[Any], None]) -> None:
            serve(node.receiving(), answer)

        self.world.call(self.store["secondary"], work, done, _CALL)

    def _ask_primary(self, take: Callable[[Any], None]) -> None:
        self._to_primary(lambda node, answer: answer(node.status()), take)

    def _ask_secondary(self, take: Callable[[Any], None]) -> None:
        self._to_secondary(lambda node, answer: answer(node.status()), take)

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
        self.store["generation"] = max(self.generation, known)
        state = self.store["state"]
        if self.secondary is not None and self.secondary["paused"]:
            self._retry_flush()
        elif state is GroupState.FAILING_OVER:
            self._fail_over(FailoverRun("vm", force=False, ordered=True))
        elif state is GroupState.FAILED_OVER:
            self._after_failover()
        elif self.store["orders"]:
            self.store["orders"].popleft()(self)
        elif state is GroupState.STOPPED:
            self._again()
        elif len(answers) == 2:
            self._replicate()
        else:
            self._last_at = None
            self._again()

    def _replicate(self) -> None:
        assert self.primary is not None
        assert self.secondary is not None
        now, state = self.world.clock.now, self.primary["state"]
        if self.secondary["state"] in _FAILED_OVER:
            self._again()  # by somebody else: only an operator knows what to do
        elif state in (ForwardState.CONNECTING, ForwardState.RESYNCING):
            self._again()
        elif state is not ForwardState.REPLICATING:
            self._start(state)
        elif self.primary["generation"] != self.generation:
            self._again()
        else:
            self._backoff.reset()
            seen = Observation(
                now,
                self._last_at,
                self.primary["sent"],
                self.secondary["buffer"],
                called=False,
            )
            if policy.decide(_POLICY, seen) is None:
                self._again()
            else:
                self._checkpoint(CheckpointRun(self.primary["epoch"], self.generation))

    def _start(self, state: ForwardState) -> None:
        self._last_at = None
        now = self.world.clock.now
        if not self._backoff.may_try(now):
            self._again()
            return
        if state is ForwardState.FENCED:
            self._raise_generation()
        generation = self.generation

        def done(answer: Any) -> None:
            if isinstance(answer, BlkcoloError):
                self._say(f"start failed: {answer}")
                self._backoff.failed(now, answer)
            self._again()

        self._to_primary(lambda node, answer: answer(node.start(generation)), done)

    # Runs.

    def _checkpoint(self, run: CheckpointRun) -> None:
        if run.step is None:
            name = run.outcome.name if run.outcome else ""
            self._say(f"checkpoint {run.epoch} {name} {run.error or ''}")
            self._last_at = self.world.clock.now if run.error is None else None
            self._again()
            return
        epoch, generation, step = run.epoch, run.generation, run.step
        deadline = self.world.clock.now + _CALL - 0.1

        def done(answer: Any) -> None:
            if isinstance(answer, BlkcoloError):
                run.failed(0.0, answer)
            else:
                run.succeeded(0.0, answer if isinstance(answer, int) else 0)
            self._checkpoint(run)

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
        call = self._to_primary if of_primary else self._to_secondary
        call(serve, done)

    def _fail_over(self, run: FailoverRun) -> None:
        if run.step is None:
            self._failover_ended(run)
            return
        if run.step is FailoverStep.RAISE_GENERATION:
            self._raise_generation()
            run.generation_raised()
        generation = self.generation

        def asked(answer: Any) -> None:
            if isinstance(answer, BlkcoloError):
                run.fail(answer)
            else:
                run.secondary_answered(
                    answer["committed"],
                    answer["kept"],
                    failed_over=answer["state"] in _FAILED_OVER,
                    fenced=answer["generation"] >= generation,
                )
            self._fail_over(run)

        def fenced(answer: Any) -> None:
            run.fence_answered(answer if isinstance(answer, BlkcoloError) else None)
            self._fail_over(run)

        def stopped(answer: Any) -> None:
            if isinstance(answer, BlkcoloError):
                run.fail(answer)
            else:
                run.stopped()
            self._fail_over(run)

        if run.step is FailoverStep.ASK_SECONDARY:
            self._ask_secondary(asked)
        elif run.step is FailoverStep.FENCE_PRIMARY:
            self._to_primary(
                lambda node, answer: answer(node.fence(generation)), fenced
            )
        else:
            self._to_secondary(
                lambda node, answer: node.fail_over(generation, run.epoch, answer),
                stopped,
            )

    def _failover_ended(self, run: FailoverRun) -> None:
        if run.error is None:
            self.store["state"] = GroupState.FAILED_OVER
        elif not run.ordered:
            self.store["state"] = GroupState.STARTING
        self._say(f"failover ends: {run.error or 'done'}")
        self._again()

    def _after_failover(self) -> None:
        """Fences an old primary that comes back."""
        generation = self.generation
        if self.primary is None or self.primary["state"] is ForwardState.FENCED:
            self._again()
        else:
            self._to_primary(
                lambda node, answer: answer(node.fence(generation)),
                lambda _answer: self._again(),
            )

    def _retry_flush(self) -> None:
        """As an operator does that is told of a paused flush: the same call again."""
        assert self.secondary is not None
        generation, ended = self.generation, self.secondary["state"] in _FAILED_OVER

        def serve(node: Any, answer: Callable[[Any], None]) -> None:
            if ended:
                node.fail_over(generation, None, answer)
            else:
                node.stop(StopMode.ROLLBACK, generation, answer)

        self._to_secondary(serve, lambda _answer: self._again())

    # What its operator orders.

    def order_failover(self, *, force: bool, older: bool) -> None:
        """Failover, to the oldest kept checkpoint or to the committed one."""
        kept = self.secondary["kept"] if self.secondary is not None else []
        epoch = kept[0] if older and kept else None
        self._say(f"failover ordered, force={force}, checkpoint {epoch or 'committed'}")
        self.store["state"] = GroupState.FAILING_OVER
        self._fail_over(FailoverRun("vm", force, epoch))

    def order_stop(self, mode: StopMode) -> None:
        """Stops the primary, then the secondary; ordered again where that fails."""
        generation, deadline = self.generation, self.world.clock.now + _CALL - 0.1
        self._say(f"stop ordered: {mode.name}")

        def primary_stopped(_answer: Any) -> None:
            self._to_secondary(
                lambda node, answer: node.stop(mode, generation, answer),
                secondary_stopped,
            )

        def secondary_stopped(answer: Any) -> None:
            if isinstance(answer, BlkcoloError):
                self._say(f"stop failed: {answer}")
            else:
                self.store["state"] = GroupState.STOPPED
            self._again()

        self._to_primary(
            lambda node, answer: node.stop(generation, deadline, answer),
            primary_stopped,
        )

    def resume(self) -> None:
        """ResumeReplication."""
        if self.store["state"] is GroupState.STOPPED:
            self._say("resume ordered")
            self.store["state"] = GroupState.STARTING
            self._backoff.reset()
