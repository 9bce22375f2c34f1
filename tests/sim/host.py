"""A host of the pair: its machine and its disks, and the node that runs on it.

Real: the role file and the order of a role change, and `GroupsInRole`, which tells a
caller that the host is in the other role. Stands in for the edge `node_group`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blkcolo.errors import BlkcoloError, translated
from blkcolo.intent.log import IntentLog
from blkcolo.roles import GroupsInRole, Role
from blkcolo.stream import StreamFailure
from blkcolo_node import role_change, role_file
from tests.sim.calls import COORDINATOR
from tests.sim.disks import Machine
from tests.sim.oracle import refused_changes_nothing
from tests.sim.primary_node import PrimaryNode
from tests.sim.secondary_node import SecondaryNode

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from blkcolo.stream import Hello
    from blkcolo_coordinator.runs.roles import NodeView
    from tests.sim.network import Stream
    from tests.sim.side import Side
    from tests.sim.vm import VmWrite
    from tests.sim.world import World

#: File operations of a demotion, about.
_DEMOTION = 7


class Host:
    """What outlives the death of a process.

    Attributes:
        name: which one.
        machine: what its node runs on.
        disks: the volumes' images.
        side: what must hold here.
    """

    def __init__(
        self,
        name: str,
        first: Role,
        rng: random.Random,
        side: Side,
        sizes: Sequence[int],
        *,
        power: bool,
    ) -> None:
        self.name = name
        self.machine = Machine(name, rng, host=power)
        self.side = side
        self.disks = [self.machine.image(size) for size in sizes]
        self._first = first

    @property
    def role(self) -> Role:
        """The one that it plays when it starts."""
        return role_file.load(self.machine.folder, "vm", self._first)


class HostNode:
    """One life of a host's node; exactly one of `primary` and `secondary` is there."""

    def __init__(self, world: World, host: Host) -> None:
        self.world = world
        self.host = host
        self.primary: PrimaryNode | None = None
        self.secondary: SecondaryNode | None = None
        sizes = [disk.size for disk in host.disks]
        self._intent = IntentLog(
            host.machine.folder, "vm", sizes, world.scenario.region
        )
        if host.role is Role.PRIMARY:
            host.side.plays_primary()
            self.primary = PrimaryNode(world, host, self._intent)
        else:
            self.secondary = SecondaryNode(world, host, self._intent)
            durable = self.secondary.replica.journal.state
            host.side.plays_secondary(discarded=durable.discarded)
        groups = {"vm": self}
        self._forwarding = GroupsInRole(Role.PRIMARY, groups, lambda n: n.primary)
        self._receiving = GroupsInRole(Role.SECONDARY, groups, lambda n: n.secondary)

    @property
    def generation(self) -> int:
        """The newest known generation."""
        if self.primary is not None:
            return self.primary.core.generation
        return self.secondary.replica.generation if self.secondary is not None else 0

    def forwarding(self, generation: int | None = None) -> PrimaryNode:
        """What a caller of the primary reaches; raises Refused in the other role."""
        return self._forwarding.find("vm", generation)

    def receiving(self, generation: int | None = None) -> SecondaryNode:
        """What a caller of the secondary reaches; raises Refused in the other role."""
        return self._receiving.find("vm", generation)

    def accept(self, stream: Stream) -> None:
        """A connection from the other host, which says hello first."""

        def hello(seq: int, message: Hello) -> None:
            try:
                self.receiving(message.generation).accept(stream)
            except BlkcoloError as error:
                stream.response(StreamFailure(error))
            else:
                stream.on_request(seq, message)

        stream.on_request = self.world.guard(self.host.name, hello)

    # Changes of role.

    def view(self) -> NodeView:
        """What it says of itself, in whichever role."""
        if self.primary is not None:
            return self.primary.view()
        return self.receiving().view()

    def demote(self, generation: int) -> None:
        """Makes this the secondary."""
        side = self.host.side
        self._changes()
        served = True
        if self.primary is not None:
            self._demote(self.primary, generation)
        elif self.secondary is not None:
            replica = self.secondary.replica
            served = replica.tracks or replica.journal.state.discarded
            if replica.tracks:
                side.leaves_view()
            with refused_changes_nothing(replica.journal):
                role_change.demote_again(replica, generation)
            self.secondary.clients.stop_reading()
            self._say("stays secondary")
        side.admitted(generation)
        if served:
            side.was_demoted()
            self.world.faults.moment(self.host.name, weight=3)

    def _demote(self, primary: PrimaryNode, generation: int) -> None:
        if role_change.needs_fence(primary.core, generation):
            primary.fence(generation)
        with translated("opening the Disk Buffer"):
            secondary = SecondaryNode(self.world, self.host, self._intent)
        folder, epoch = self.host.machine.folder, primary.core.epoch
        self.world.faults.within(self.host.name, _DEMOTION)
        role_change.demote(folder, secondary.replica, generation, epoch)
        self.primary, self.secondary = None, secondary
        primary.close()
        self._say("is secondary now")

    def promote(self, generation: int) -> None:
        """Makes this the primary."""
        side = self.host.side
        self._changes()
        role_change.check_promotion("vm", self.generation, generation)
        secondary = self.secondary
        if secondary is not None:
            folder = self.host.machine.folder
            if secondary.replica.tracks:
                side.leaves_view()
            role_change.promote(folder, secondary.replica, generation)
            side.plays_primary()
            self.secondary = None
            self.primary = PrimaryNode(self.world, self.host, self._intent)
            secondary.close()
            self._say("is primary now")
        side.admitted(generation)

    def _changes(self) -> None:
        self.world.faults.moment(self.host.name, weight=3)
        self.world.faults.refusal(self.host.name)
        self.world.faults.moment(COORDINATOR, weight=3)

    def _say(self, text: str) -> None:
        self.world.note(self.host.name, text)
        self.world.tally[f"host {text}"] += 1

    # The VM.

    def vm_writes(self, write: VmWrite) -> None:
        """The VM writes here, if it may."""
        if self.primary is not None:
            self.primary.clients.vm_writes(write)
        elif self.secondary is not None:
            self.secondary.clients.vm_writes(write)

    def write(self, write: VmWrite) -> None:
        """The same, when it has waited for its marks."""
        if self.primary is not None:
            self.primary.clients.write(write)
        elif self.secondary is not None:
            self.secondary.clients.write(write)

    def check(self) -> None:
        """What must hold after every step."""
        node = self.primary or self.secondary
        if node is not None:
            node.check()
