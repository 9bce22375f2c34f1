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
from collections import Counter, defaultdict
from functools import partial
from typing import TYPE_CHECKING, Any

from blkcolo.errors import BlkcoloError, DataLoss
from blkcolo.extents import BLOCK_SIZE
from blkcolo.roles import Role
from blkcolo.stream import VolumeId
from blkcolo_coordinator.core.group_state import ENDED, GroupState
from blkcolo_primary.core.forward_state import ForwardState
from blkcolo_secondary.core.replica_state import ReplicaState
from tests.sim.calls import COORDINATOR, Store
from tests.sim.coordinator_node import CoordinatorNode
from tests.sim.disks import Crash, Machine
from tests.sim.faults import Faults, rot
from tests.sim.host import Host, HostNode
from tests.sim.network import Clock, Network, Stream
from tests.sim.oracle import Oracle
from tests.sim.orders import Orders
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
        self.store = Store("a", "b")
        self.coordinator: CoordinatorNode | None = None
        self._nodes: dict[str, HostNode | None] = dict.fromkeys(_HOSTS)
        self._lives: Counter[str] = Counter()
        self._paused_until: dict[str, float] = defaultdict(float)
        self._streams: dict[str, Stream] = {}
        self._trace = trace
        self.faults = Faults(self)
        self.orders = Orders(self)
        self._touched: set[str] = set()
        self.quiet = False
        self.steps = 0
        self.tally: Counter[str] = Counter()

    # Who is who.

    @property
    def primary(self) -> str:
        """The host that the coordinator takes for the primary."""
        return self.store.primary

    @property
    def secondary(self) -> str:
        """The host that it takes for the secondary."""
        return self.store.secondary

    def other(self, host: str) -> str:
        """The other host of the pair."""
        return next(name for name in _HOSTS if name != host)

    def machine(self, name: str) -> Machine:
        """What a process runs on."""
        if name == COORDINATOR:
            return self._coordinator_machine
        return self.hosts[name].machine

    @property
    def failed_over(self) -> bool:
        """True if the secondary is an ordinary disk, whatever the coordinator knows."""
        node = self._nodes[self.secondary]
        secondary = node.secondary if node is not None else None
        return (
            secondary is not None
            and secondary.replica.state is ReplicaState.FAILED_OVER
        )

    def lives(self, name: str) -> bool:
        """True while the process runs."""
        node = self.coordinator if name == COORDINATOR else self._nodes[name]
        return node is not None

    @property
    def discarding(self) -> bool:
        """True if the secondary can give back what it held before it was a copy."""
        node = self._nodes[self.secondary]
        if node is None or node.secondary is None:
            return False
        return node.secondary.replica.journal.state.discarded

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
                self.coordinator = CoordinatorNode(self)
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
        """A damaged middle is refused (journal) or taken for "all may differ"."""
        machine = host.machine
        if host.role is Role.PRIMARY:
            rotten = rot(machine.folder, "vm.intent", self.rng, host=machine.host)
        else:
            rotten = rot(machine.buffer, "journal", self.rng, host=machine.host)
        if rotten is None:
            return
        self.note(host.name, f"byte {rotten.position} of {rotten.name} is wrong")
        if rotten.name == "vm.intent":
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
        if self.lives(name):
            self._die(name)

    def _die(self, name: str) -> None:
        death = "loses power" if self.machine(name).host else "dies"
        self.note(name, death)
        self.tally[f"{name} {death}"] += 1
        self._lives[name] += 1
        if name == COORDINATOR:
            self.coordinator = None
        else:
            self._nodes[name] = None
        self._paused_until[name] = 0.0
        machine = self.machine(name)
        machine.crashed()
        if machine.host:
            self.oracle.sides[name].lost_power()
            if name == self.secondary:
                self.oracle.leaves_drained()
        if name != COORDINATOR:
            self._cut_all()
        self.clock.after(self.rng.uniform(0.01, 0.3), lambda: self.start(name))

    def pause(self, name: str, seconds: float) -> None:
        """The process hangs (SIGSTOP)."""
        self.note(name, f"hangs for {seconds:.2f} s")
        self._paused_until[name] = self.clock.now + seconds

    def cut_streams(self) -> None:
        """The connections between the hosts break."""
        self.note("network", "the stream is cut")
        self._cut_all()

    def _cut_all(self) -> None:
        for stream in self._streams.values():
            stream.cut()

    def sever(self, one: str, other: str, seconds: float) -> None:
        """A link is down for a while."""
        self.note("network", f"no way between {one} and {other} for {seconds:.2f} s")
        self.tally["link down"] += 1
        self.network.sever(one, other, seconds)
        if COORDINATOR not in (one, other):
            self._cut_all()

    def connect(self, host: str) -> Stream:
        """A connection from a primary to the other host."""
        if host in self._streams:
            self._streams[host].cut()
        stream = self._streams[host] = Stream(self.network, self.clock)
        name = self.other(host)
        peer = self._nodes[name]
        if peer is None or not self.network.reaches(host, name):
            stream.cut(unreachable(name))
        else:
            peer.accept(stream)
        return stream

    def write_on(self, host: str, write: VmWrite) -> None:
        """A write that has waited for its marks is done, whatever the role is now."""
        node = self._nodes[host]
        if node is not None:
            node.write(write)

    def call(
        self,
        name: str,
        serve: Callable[[Any, Callable[[Any], None]], None],
        done: Callable[[Any], None],
        timeout: float,
        caller: str = COORDINATOR,
    ) -> None:
        """The coordinator calls a host, or somebody who takes himself for it."""

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

        ends = (caller, name)
        self.network.call(at_callee, self.guard(COORDINATOR, done), timeout, ends)

    # The run.

    def run(self) -> None:
        """Faults, then quiet; raises AssertionError with what does not hold."""
        self.note("scenario", str(self.scenario))
        for name in _PROCESSES:
            self.start(name)
        self.clock.after(0.0, self._vm)
        self.faults.begin()
        self.orders.plan()
        while self.clock.step(self.scenario.faults_end):
            self._check()
        self.network.faulty, self.quiet = False, True
        for name in _PROCESSES:
            machine = self.machine(name)
            machine.fuse, machine.failing, machine.fails_in = None, 0, None
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
        """Protected again; or failed over, or stopped, where that is the end."""
        first, second = (self._nodes[n] for n in (self.primary, self.secondary))
        primary = first.primary if first is not None else None
        secondary = second.secondary if second is not None else None
        if primary is None or secondary is None:
            return False
        if self.store.state is GroupState.FAILED_OVER:
            fenced = primary.core.state is ForwardState.FENCED
            done = fenced and secondary.replica.state is ReplicaState.FAILED_OVER
            return done and not self.scenario.changes_roles
        if self.store.state is GroupState.STOPPED:
            return bool(secondary.replica.state is ReplicaState.STOPPED)
        return bool(primary.core.protected) and self.store.state not in ENDED

    def _vm(self) -> None:
        """The VMs write whenever they may."""
        rng, calm = self.rng, self.scenario.calm
        if not self.quiet:
            self.clock.after(rng.expovariate(10.0 if calm else 50.0), self._vm)
        for name, node in self._nodes.items():
            second = node.secondary if node is not None else None
            often = 0.9 if second is not None and second.replica.flushing else 0.5
            if node is None:
                continue
            if second is None or rng.random() < often:
                for write in VmWrite.burst(rng, SIZES, calm=calm):
                    if self.lives(name):
                        self.guard(name, partial(node.vm_writes, write))()
                        self._check()
            elif rng.random() < 0.1:
                self.guard(name, second.clients.read_history)()
