"""A host of the pair: its machine and its disks, and the node that runs on it.

Real: `GroupsInRole`, which tells a caller that the host is in the other role.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from blkcolo.roles import GroupsInRole, Role
from tests.sim.disks import Machine
from tests.sim.primary_node import PrimaryNode
from tests.sim.secondary_node import SecondaryNode

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from tests.sim.side import Side
    from tests.sim.world import World


class Host:
    """What outlives the death of a process.

    Attributes:
        name: which one.
        role: the one that it plays.
        machine: what its node runs on.
        disks: the volumes' images.
        side: what must hold here.
    """

    def __init__(
        self,
        name: str,
        role: Role,
        rng: random.Random,
        side: Side,
        sizes: Sequence[int],
        *,
        power: bool,
    ) -> None:
        self.name = name
        self.role = role
        self.machine = Machine(name, rng, host=power)
        self.side = side
        self.disks = [self.machine.image(size) for size in sizes]


class HostNode:
    """One life of a host's node; exactly one of `primary` and `secondary` is there."""

    def __init__(self, world: World, host: Host) -> None:
        self.host = host
        self.primary: PrimaryNode | None = None
        self.secondary: SecondaryNode | None = None
        if host.role is Role.PRIMARY:
            self.primary = PrimaryNode(world, host)
        else:
            self.secondary = SecondaryNode(world, host)
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

    def check(self) -> None:
        """What must hold after every step."""
        node: Any = self.primary or self.secondary
        node.check()
