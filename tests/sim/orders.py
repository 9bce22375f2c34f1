"""What the operator of a simulated group asks for, by its scenario.

An order waits until the coordinator looks at it. Roles are changed again and again
until the faults end; then a survivor without a partner gets one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blkcolo_coordinator.core.group_state import GroupState
from blkcolo_coordinator.runs.roles import Side
from blkcolo_secondary.core.stop_plan import StopMode
from tests.sim.calls import COORDINATOR

if TYPE_CHECKING:
    from tests.sim.calls import Order
    from tests.sim.world import World

_LOSERS = (None, Side.PRIMARY, Side.SECONDARY, Side.SECONDARY)


class Orders:
    """The operator of one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rng = world.rng

    def plan(self) -> None:
        """What will be ordered, and when."""
        world, rng, scenario = self._world, self._rng, self._world.scenario
        at = rng.uniform(0.3, scenario.faults_end)
        if scenario.stops:
            mode = rng.choice((StopMode.ROLLBACK, StopMode.KEEP_LATEST))
            world.clock.after(at, lambda: self._order(lambda c: c.order_stop(mode)))
            world.clock.after(at + rng.uniform(0.5, 2.0), self._resume)
        if scenario.fails_over:
            soon = scenario.stops and rng.random() < 0.7
            late = rng.uniform(0.5, scenario.faults_end)
            when = at + rng.uniform(0.05, 0.4) if soon else late
            world.clock.after(when, self._fail_over)
        if scenario.changes_roles:
            world.clock.after(rng.uniform(0.5, 1.5), self._change_roles)
            if scenario.stops:
                world.clock.after(rng.uniform(1.0, 3.0), self._stop_discarded)

    def _order(self, order: Order) -> None:
        self._world.store.orders.append(order)

    def _fail_over(self, older: float = 0.4) -> None:
        """With force where the primary seems to be dead; how often to an older one."""
        world, to_older = self._world, self._rng.random() < older
        if world.scenario.changes_roles and self._rng.random() < 0.3:
            world.sever(COORDINATOR, world.primary, self._rng.uniform(0.5, 2.0))
        force = not world.lives(world.primary)
        if not world.network.reaches(COORDINATOR, world.primary):
            force = True
        self._order(lambda c: c.roles.order_failover(force=force, older=to_older))

    def switchover_failed(self) -> None:
        """It failed behind the fence, and nobody waits for it to go on by itself."""
        world, rng = self._world, self._rng
        if world.quiet:
            return
        kind = rng.random()
        if kind < 0.4:
            world.sever(COORDINATOR, world.secondary, rng.uniform(0.5, 2.0))
        if kind < 0.8:
            self._fail_over(older=0.7)

    def _change_roles(self) -> None:
        world, rng = self._world, self._rng
        world.clock.after(rng.uniform(0.2, 1.2), self._change_roles)
        match world.store.state:
            case GroupState.FAILED_OVER:
                loser = Side.PRIMARY if world.quiet else rng.choice(_LOSERS)
                self._order(lambda c: c.roles.order_reprotect(loser))
            case GroupState.SWITCHING_OVER:
                if rng.random() < 0.3 and not world.quiet:
                    self._fail_over()
            case GroupState.STARTING | GroupState.PROTECTED | GroupState.UNPROTECTED:
                if world.quiet:
                    pass
                elif rng.random() < 0.6:
                    self._order(lambda c: c.roles.order_switchover())
                elif rng.random() < 0.6:
                    self._fail_over()
            case GroupState.STOPPED:
                if rng.random() < 0.4 and not world.quiet:
                    self._fail_over()
            case _:
                pass

    def _stop_discarded(self) -> None:
        """Brings back what a side held before it was to be a copy."""
        world = self._world
        if world.quiet:
            return
        world.clock.after(0.02, self._stop_discarded)
        if world.discarding and self._rng.random() < 0.1:
            self._order(lambda c: c.order_stop(StopMode.ROLLBACK))

    def _resume(self) -> None:
        world = self._world
        if world.coordinator is not None:
            world.coordinator.resume()
        if world.store.state is GroupState.STOPPED or not world.quiet:
            world.clock.after(0.5, self._resume)
