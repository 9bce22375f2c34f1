"""What the simulated coordinator calls, and what it has stored."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from blkcolo_coordinator.core.group_state import Event, GroupState, advance
from blkcolo_coordinator.runs.roles import Side

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sim.coordinator_node import CoordinatorNode
    from tests.sim.host import HostNode
    from tests.sim.world import World

    Done = Callable[[Any], None]
    Serve = Callable[[Any, Done], None]
    Order = Callable[["CoordinatorNode"], None]

#: What the process is called.
COORDINATOR = "coordinator"
#: Seconds that a caller waits.
DEADLINE = 0.5


@dataclass
class Store:
    """What outlives the coordinator's process; stored in one step each time.

    Attributes:
        primary: the host in this role; so is `secondary`.
        orders: what an operator asked for.
        loser: the side that a reprotect demotes.
        fenced_clean: a switchover's fence was answered.
        failover_to: the kept checkpoint that a failover was asked for.
        failover_forced: it goes on without the primary's answer.
    """

    primary: str
    secondary: str
    generation: int = 1
    state: GroupState = GroupState.STARTING
    orders: deque[Order] = field(default_factory=deque)
    loser: Side = Side.PRIMARY
    fenced_clean: bool = False
    failover_to: int | None = None
    failover_forced: bool = False

    def after(self, event: Event) -> GroupState:
        """The state after an event; raises Refused."""
        return advance("vm", self.state, event)


class Calls:
    """Calls of one coordinator; what a callee raises is its answer."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._store = world.store

    def host(self, name: str, serve: Serve, done: Done) -> None:
        """To a host in whichever role."""
        self._world.call(name, serve, done, DEADLINE)

    def primary(self, serve: Serve, done: Done) -> None:
        """To the primary."""

        def work(node: HostNode, answer: Done) -> None:
            serve(node.forwarding(), answer)

        self.host(self._store.primary, work, done)

    def secondary(self, serve: Serve, done: Done) -> None:
        """To the secondary."""

        def work(node: HostNode, answer: Done) -> None:
            serve(node.receiving(), answer)

        self.host(self._store.secondary, work, done)
