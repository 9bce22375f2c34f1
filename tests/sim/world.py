"""The whole system on one thread in virtual time, from a seed.

The real cores of all three services run over a simulated network (`network`) on
simulated disks (`disks`), each in a thin stand-in of its process (`primary_node`,
`secondary_node`, `coordinator_node`; their docstrings say what is real). What goes
wrong comes from `faults`, what is set up from `scenario`. After every step `oracle`
checks I1 to I6; when the faults end, the group must become protected again, or its
failover be complete.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict, deque
from functools import partial
from typing import TYPE_CHECKING, Any

from blkcolo.errors import BlkcoloError, DataLoss
from blkcolo.extents import BLOCK_SIZE
from blkcolo.roles import Role
from blkcolo.stream import VolumeId
from blkcolo_coordinator.group_state import GroupState
from blkcolo_primary.forward_state import ForwardState
from blkcolo_secondary.replica_state import ReplicaState
from blkcolo_secondary.stop_plan import StopMode
from tests.sim.coordinator_node import COORDINATOR, CoordinatorNode
from tests.sim.disks import Crash, Machine
from tests.sim.faults import Faults, rot
from tests.sim.host import Host, HostNode
from tests.sim.network import Clock, Network, Stream
from tests.sim.oracle import Oracle
from tests.sim.primary_node import unreachable
from tests.sim.scenario import Scenario
from tests.sim.vm import VmWrite

if TYPE_CHECKING:
    from collections.abc import Callable

#: Sizes that are no multiple of anything.
SIZES = (5 * BLOCK_SIZE + 512, 3 * BLOCK_SIZE + 1)
_SETTLING = 120.0
#: The hosts of the pair, by the role that they begin in.
_HOSTS = {"a": Role.PRIMARY, "b": Role.SECONDARY}
_PROCESSES = (*_HOSTS, COORDINATOR)
_LOGS = {Role.PRIMARY: "vm.intent", Role.SECONDARY: "journal"}


class World:
    """One run.

    Attributes:
        quiet: the faults have ended.
        steps: events so far.
        tally: how often things happened that a run is there for.
    """

    def __init__(self, seed: int, trace: Callable[[str], None] | None = None) -> None:
        self.rng = random.Random(seed)  # noqa: S311 - a simulation
        self.scenario = Scenario.draw(seed, self.rng)
        self.clock = Clock()
        self.network = Network(self.clock, self.rng)
        self.oracle = Oracle(_HOSTS, SIZES)
        self.volumes = tuple(
            VolumeId(f"disk{i}", f"uuid{i}", size) for i, size in enumerate(SIZES)
        )
        power, sides = self.scenario.host, self.oracle.sides
        self.hosts = {
            name: Host(name, role, self.rng, sides[name], SIZES, power=power)
            for name, role in _HOSTS.items()
        }
        self._coordinator_machine = Machine(COORDINATOR, self.rng, host=False)
        self.coordinator_store: dict[str, Any] = {
            "generation": 1,
            "state": GroupState.STARTING,
            "orders": deque(),
            "primary": "a",
            "secondary": "b",
        }
        self._nodes: dict[str, HostNode | None] = dict.fromkeys(_HOSTS)
        self._coordinator: CoordinatorNode | None = None
        self._lives: Counter[str] = Counter()
        self._paused_until: dict[str, float] = defaultdict(float)
        self._stream: Stream | None = None
        self._trace = trace
        self.faults = Faults(self)
        self._touched: set[str] = set()
        self.quiet = False
        self.steps = 0
        self.tally: Counter[str] = Counter()

    # Who is who.

    @property
    def primary(self) -> str:
        """The host that the coordinator takes for the primary."""
        return str(self.coordinator_store["primary"])

    @property
    def secondary(self) -> str:
        """The host that it takes for the secondary."""
        return str(self.coordinator_store["secondary"])

    def other(self, host: str) -> str:
        """The other host of the pair."""
        return next(name for name in _HOSTS if name != host)

    def machine(self, name: str) -> Machine:
        """What a process runs on."""
        if name == COORDINATOR:
            return self._coordinator_machine
        return self.hosts[name].machine

    def _lives_now(self, name: str) -> bool:
        node = self._coordinator if name == COORDINATOR else self._nodes[name]
        return node is not None

    # Time and processes.

    def note(self, who: str, text: str) -> None:
        """A line of the trace."""
        if self._trace is not None:
            self._trace(f"{self.clock.now:9.4f}  {who:<11}  {text}")

    def guard(self, name: str, work: Callable[..., None]) -> Callable[..., None]:
        """The work as this life of the process does it; a later life does not."""
        life = self._lives[name]

        def guarded(*arguments: Any) -> None:
            if self._lives[name] != life:
                return
            if self.clock.now < self._paused_until[name]:
                wait = self._paused_until[name] - self.clock.now
                self.clock.after(wait, lambda: guarded(*arguments))
                return
            self._touched.add(name)
            try:
                work(*arguments)
            except Crash:
                self._die(name)

        return guarded

    def later(self, name: str, delay: float, work: Callable[[], None]) -> None:
        """The process does the work so many seconds from now, if it lives."""
        self.clock.after(delay, self.guard(name, work))

    def start(self, name: str) -> None:
        """The process starts; it may die at once."""
        self._lives[name] += 1
        self._touched.add(name)
        self.note(name, "starts")
        try:
            if name == COORDINATOR:
                self._coordinator = CoordinatorNode(self)
            else:
                self._start_node(self.hosts[name])
        except Crash:
            self._die(name)
        except OSError as error:
            self.note(name, f"cannot start: {error}")
            self._die(name)

    def _start_node(self, host: Host) -> None:
        if not self.quiet and self.rng.random() < 0.2:
            self._start_rotten(host)
        self._nodes[host.name] = HostNode(self, host)

    def _start_rotten(self, host: Host) -> None:
        """A damaged middle is refused (secondary) or taken for "all may differ"."""
        rotten = rot(host.machine, _LOGS[host.role], self.rng)
        if rotten is None:
            return
        self.note(host.name, f"byte {rotten.position} of {rotten.name} is wrong")
        if host.role is Role.PRIMARY:
            return
        try:
            HostNode(self, host)
        except DataLoss as error:
            self.note(host.name, f"refuses to start: {error}")
            refused = True
        else:
            refused = False
        assert refused, f"a damaged middle of {rotten.name} was accepted"
        rotten.mend()

    def kill(self, name: str) -> None:
        """The process dies if it lives, and comes back some time later."""
        if self._lives_now(name):
            self._die(name)

    def _die(self, name: str) -> None:
        death = "loses power" if self.machine(name).host else "dies"
        self.note(name, death)
        self.tally[f"{name} {death}"] += 1
        self._lives[name] += 1
        if name == COORDINATOR:
            self._coordinator = None
        else:
            self._nodes[name] = None
        self._paused_until[name] = 0.0
        machine = self.machine(name)
        machine.crashed()
        if machine.host:
            self.oracle.sides[name].lost_power()
        if self._stream is not None and name != COORDINATOR:
            self._stream.cut()
        self.clock.after(self.rng.uniform(0.01, 0.3), lambda: self.start(name))

    def pause(self, name: str, seconds: float) -> None:
        """The process hangs (SIGSTOP)."""
        self.note(name, f"hangs for {seconds:.2f} s")
        self._paused_until[name] = self.clock.now + seconds

    def cut_stream(self) -> None:
        """The connection breaks."""
        if self._stream is not None:
            self.note("network", "the stream is cut")
            self._stream.cut()

    def connect(self, host: str) -> Stream:
        """A connection from a primary to the other host."""
        if self._stream is not None:
            self._stream.cut()
        stream = self._stream = Stream(self.network, self.clock)
        peer = self._nodes[self.other(host)]
        if peer is None:
            stream.cut(unreachable(self.other(host)))
        else:
            peer.receiving().accept(stream)
        return stream

    def call(
        self,
        name: str,
        serve: Callable[[Any, Callable[[Any], None]], None],
        done: Callable[[Any], None],
        timeout: float,
    ) -> None:
        """The coordinator calls a host."""

        def at_callee(answer: Callable[[Any], None]) -> None:
            node = self._nodes[name]
            if node is None:
                answer(unreachable(name))
                return

            def work() -> None:
                try:
                    serve(node, answer)
                except BlkcoloError as error:
                    answer(error)

            self.guard(name, work)()

        self.network.call(at_callee, self.guard(COORDINATOR, done), timeout)

    # The run.

    def run(self) -> None:
        """Faults, then quiet; raises AssertionError with what does not hold."""
        self.note("scenario", str(self.scenario))
        for name in _PROCESSES:
            self.start(name)
        self.clock.after(0.0, self._vm)
        self.faults.begin()
        self._plan_orders()
        while self.clock.step(self.scenario.faults_end):
            self._check()
        self.network.faulty, self.quiet = False, True
        for name in _PROCESSES:
            machine = self.machine(name)
            machine.fuse, machine.failing = None, 0
        self.note("world", "the faults end")
        end = self.clock.now + _SETTLING
        while not self._well():
            assert self.clock.step(end), "liveness: not protected, not failed over"
            self._check()

    def _check(self) -> None:
        self.steps += 1
        for name, node in self._nodes.items():
            if name in self._touched and node is not None:
                node.check()
        self._touched.clear()

    def _well(self) -> bool:
        first, second = (self._nodes[n] for n in (self.primary, self.secondary))
        primary = first.primary if first is not None else None
        secondary = second.secondary if second is not None else None
        if primary is None or secondary is None:
            return False
        state = self.coordinator_store["state"]
        if state is GroupState.FAILED_OVER:
            fenced = primary.core.state is ForwardState.FENCED
            return fenced and secondary.replica.state is ReplicaState.FAILED_OVER
        if state is GroupState.STOPPED:
            return bool(secondary.replica.state is ReplicaState.STOPPED)
        return bool(primary.core.protected)

    # What the VMs and the operator do.

    def _vm(self) -> None:
        """The VMs write whenever they may."""
        if not self.quiet:
            self.clock.after(self.rng.expovariate(50.0), self._vm)
        first, second = (self._nodes[n] for n in (self.primary, self.secondary))
        primary = first.primary if first is not None else None
        secondary = second.secondary if second is not None else None
        for write in VmWrite.burst(self.rng, SIZES):
            if primary is not None and self._lives_now(primary.name):
                self.guard(primary.name, partial(primary.vm_writes, write))()
                self._check()
        if secondary is None:
            return
        if self.rng.random() < (0.9 if secondary.replica.flushing else 0.5):
            for write in VmWrite.burst(self.rng, SIZES):
                if self._lives_now(secondary.name):
                    self.guard(secondary.name, partial(secondary.vm_writes, write))()
                    self._check()
        elif self.rng.random() < 0.1:
            self.guard(secondary.name, secondary.read_history)()

    def _plan_orders(self) -> None:
        rng, end = self.rng, self.scenario.faults_end
        at = rng.uniform(0.3, end)
        if self.scenario.stops:
            mode = rng.choice((StopMode.ROLLBACK, StopMode.KEEP_LATEST))
            self.clock.after(at, lambda: self._order(lambda c: c.order_stop(mode)))
            self.clock.after(at + rng.uniform(0.5, 2.0), self._resume)
        if self.scenario.fails_over:
            older = rng.random() < 0.4
            soon = self.scenario.stops and rng.random() < 0.7
            when = at + rng.uniform(0.05, 0.4) if soon else rng.uniform(0.5, end)
            self.clock.after(when, lambda: self._order_failover(older=older))

    def _order(self, order: Callable[[CoordinatorNode], None]) -> None:
        self.coordinator_store["orders"].append(order)

    def _order_failover(self, *, older: bool) -> None:
        force = self._nodes[self.primary] is None
        self._order(lambda c: c.order_failover(force=force, older=older))

    def _resume(self) -> None:
        if self._coordinator is not None:
            self._coordinator.resume()
        if self.coordinator_store["state"] is GroupState.STOPPED:
            self.clock.after(0.5, self._resume)
