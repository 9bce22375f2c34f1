"""Deliberate defects: the simulation must find every one of them.

    python -m tests.sim.defects                          all of them
    python -m tests.sim.defects "overlay lost at a restart"

Each is a patch of one place in the source of a service. It is planted while the module
is imported, in a process of its own (`planting`): the tree never changes.
"""

from __future__ import annotations

from tests.sim.defects.of_copies import OF_COPIES
from tests.sim.defects.of_forwarding import OF_FORWARDING
from tests.sim.defects.of_roles import OF_ROLES

DEFECTS = (*OF_COPIES, *OF_FORWARDING, *OF_ROLES)
