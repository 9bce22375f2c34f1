"""The whole system on one thread in virtual time, from a seed.

The real cores of all three services run over a simulated network (`network`) on
simulated disks (`disks`). Processes die at random moments and in the middle of any
file operation, and come back; streams are cut, calls and messages lost or late. After
every step `oracle` checks I1 to I4; when the faults end, the group must become
protected again, or its failover be complete.

    seed bit 0   power loss (`durability: host`), else only processes die
    seed bit 1   a Secondary VM writes to the view (COLO)
    seed bit 2   a failover is ordered
"""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any

from blkcolo.errors import BlkcoloError
from blkcolo.extents import BLOCK_SIZE
from blkcolo.stream import VolumeId
from blkcolo_coordinator.group_state import GroupState
from blkcolo_primary.forward_state import ForwardState
from blkcolo_secondary.replica_state import ReplicaState
from tests.sim.coordinator_node import CoordinatorNode
from tests.sim.disks import Crash, Machine
from tests.sim.network import Clock, Network, Stream
from tests.sim.oracle import Oracle
from tests.sim.primary_node import PrimaryNode, unreachable
from tests.sim.secondary_node import SecondaryNode

if TYPE_CHECKING:
    from collections.abc import Callable

#: Sizes that are no multiple of anything.
SIZES = (5 * BLOCK_SIZE + 512, 3 * BLOCK_SIZE + 1)
_FAULTS = 8.0
_SETTLING = 120.0
_NODES = {
    "primary": PrimaryNode,
    "secondary": SecondaryNode,
    "coordinator": CoordinatorNode,
}


class World:
    """One run."""

    def __init__(self, seed: int, trace: Callable[[str], None] | None = None) -> None:
        self.rng = random.Random(seed)  # noqa: S311 - a simulation
        self.clock = Clock()
        self.network = Network(self.clock, self.rng)
        self.oracle = Oracle()
        self.volumes = tuple(
            VolumeId(f"disk{i}", f"uuid{i}", size) for i, size in enumerate(SIZES)
        )
        host = bool(seed & 1)
        self._colo, self._fails_over = bool(seed & 2), bool(seed & 4)
        self.primary_machine = Machine("primary", self.rng, host=host)
        self.secondary_machine = Machine("secondary", self.rng, host=host)
        self._coordinator_machine = Machine("coordinator", self.rng, host=False)
        self.primary_disks = [self.primary_machine.image(size) for size in SIZES]
        self.secondary_disks = [self.secondary_machine.image(size) for size in SIZES]
        self.coordinator_store: dict[str, Any] = {
            "generation": 1,
            "state": GroupState.STARTING,
            "failover": None,
        }
        self._nodes: dict[str, Any] = dict.fromkeys(_NODES)
        self._lives: Counter[str] = Counter()
        self._stream: Stream | None = None
        self._faults_end = self.rng.uniform(1.0, _FAULTS)
        self._trace = trace
        self.steps = 0
        self._touched: set[str] = set()

    # Time and processes.

    def note(self, text: str) -> None:
        """A line of the trace."""
        if self._trace is not None:
            self._trace(f"{self.clock.now:9.4f}  {text}")

    def guard(self, name: str, work: Callable[..., None]) -> Callable[..., None]:
        """The work as this life of the process does it; a later life does not."""
        life = self._lives[name]

        def guarded(*arguments: Any) -> None:
            if self._lives[name] != life:
                return
            self._touched.add(name)
            try:
                work(*arguments)
            except Crash:
                self.kill(name)

        return guarded

    def later(self, name: str, delay: float, work: Callable[[], None]) -> None:
        """The process does the work so many seconds from now, if it lives."""
        self.clock.after(delay, self.guard(name, work))

    def _machine(self, name: str) -> Machine:
        return {
            "primary": self.primary_machine,
            "secondary": self.secondary_machine,
            "coordinator": self._coordinator_machine,
        }[name]

    def start(self, name: str) -> None:
        """The process starts; it may die at once."""
        self._lives[name] += 1
        self._touched.add(name)
        self.note(f"{name} starts")
        try:
            self._nodes[name] = _NODES[name](self)
        except Crash:
            self.kill(name)

    def kill(self, name: str) -> None:
        """The process dies, and comes back some time later."""
        self.note(f"{name} dies")
        self._lives[name] += 1
        self._nodes[name] = None
        self._machine(name).crashed()
        if self._stream is not None and name != "coordinator":
            self._stream.cut()
        self.clock.after(self.rng.uniform(0.01, 1.5), lambda: self.start(name))

    def connect(self) -> Stream:
        """A connection from the primary to the secondary."""
        if self._stream is not None:
            self._stream.cut()
        stream = self._stream = Stream(self.network, self.clock)
        secondary = self._nodes["secondary"]
        if secondary is None:
            stream.cut(unreachable("secondary"))
        else:
            secondary.accept(stream)
        return stream

    def call(
        self,
        name: str,
        serve: Callable[[Any, Callable[[Any], None]], None],
        done: Callable[[Any], None],
        timeout: float,
    ) -> None:
        """The coordinator calls a process."""

        def at_callee(answer: Callable[[Any], None]) -> None:
            node = self._nodes[name]
            if node is None:
                answer(unreachable(name))
                return
            self._touched.add(name)
            try:
                serve(node, answer)
            except BlkcoloError as error:
                answer(error)
            except Crash:
                self.kill(name)

        self.network.call(at_callee, self.guard("coordinator", done), timeout)

    # The run.

    def run(self) -> None:
        """Faults, then quiet; raises AssertionError with what does not hold."""
        for name in _NODES:
            self.start(name)
        self.clock.after(0.0, self._vm)
        self.clock.after(0.5, self._fault)
        if self._fails_over:
            self.clock.after(self.rng.uniform(0.5, _FAULTS), self._order_failover)
        while self.clock.step(self._faults_end):
            self._check()
        self.network.faulty = False
        for name in _NODES:
            self._machine(name).fuse = None
        self.note("the faults end")
        end = self.clock.now + _SETTLING
        while not self._well():
            assert self.clock.step(end), "liveness: not protected, not failed over"
            self._check()

    def _check(self) -> None:
        self.steps += 1
        if self._nodes["secondary"] is not None and "secondary" in self._touched:
            self.oracle.check(self._nodes["secondary"].replica)
        if self._nodes["primary"] is not None and "primary" in self._touched:
            self._nodes["primary"].check()
        self._touched.clear()

    def _well(self) -> bool:
        primary, secondary = self._nodes["primary"], self._nodes["secondary"]
        if primary is None or secondary is None:
            return False
        if self.coordinator_store["state"] is GroupState.FAILED_OVER:
            fenced = primary.core.state is ForwardState.FENCED
            return fenced and secondary.replica.state is ReplicaState.FAILED_OVER
        return bool(primary.core.protected)

    def _vm(self) -> None:
        """The VMs write whenever they may."""
        if self.clock.now < self._faults_end:
            self.clock.after(self.rng.expovariate(60.0), self._vm)
        primary, secondary = self._nodes["primary"], self._nodes["secondary"]
        if primary is not None:
            self.guard("primary", primary.vm_writes)()
        if secondary is None or self.rng.random() < 0.5:
            return
        failed_over = secondary.replica.state in (
            ReplicaState.FAILING_OVER,
            ReplicaState.FAILED_OVER,
        )
        replicates = secondary.replica.state is ReplicaState.RECEIVING
        has_view = secondary.replica.committed is not None
        if failed_over or (self._colo and replicates and has_view):
            self.guard("secondary", secondary.vm_writes)()

    def _fault(self) -> None:
        if self.clock.now > self._faults_end:
            return
        self.clock.after(self.rng.expovariate(1.2), self._fault)
        kind = self.rng.random()
        name = self.rng.choice(["primary", "secondary", "secondary", "coordinator"])
        if kind < 0.3:
            if self._stream is not None:
                self.note("the stream is cut")
                self._stream.cut()
        elif kind < 0.7:
            self._machine(name).fuse = self.rng.randint(1, 60)
        elif self._nodes[name] is not None:
            self.kill(name)

    def _order_failover(self) -> None:
        force = self._nodes["primary"] is None
        self.note(f"failover ordered, force={force}")
        self.coordinator_store["failover"] = force
