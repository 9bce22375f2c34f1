"""The command that finds defects; see the package."""

from __future__ import annotations

import multiprocessing
import sys
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

# Imported once, before the processes part.
import crc32c  # noqa: F401 - see above
import numpy as np  # noqa: F401 - see above
import pyroaring  # noqa: F401 - see above

from tests.sim.defects import DEFECTS
from tests.sim.defects.of_roles import OF_ROLES
from tests.sim.defects.planting import plant

if TYPE_CHECKING:
    from collections.abc import Sequence

#: A defect that so many seeds do not find is not found.
MOST_SEEDS = 1280


class Found(NamedTuple):
    """What became of a defect; no seed: it was not found."""

    name: str
    seed: int | None
    what: str


#: These say that the patch itself does not fit, not that the simulation found it.
_MISFITS = ("NameError", "AttributeError", "TypeError", "ImportError", "SyntaxError")


def find(name: str) -> Found:
    """Runs seeds until one finds the defect; in a process that is used for it only."""
    defect = next(d for d in DEFECTS if d.name == name)
    plant(defect)
    from tests.sim.scenario import seeds_of  # noqa: PLC0415 - behind the planting
    from tests.sim.seeds import run_seed  # noqa: PLC0415 - behind the planting

    of_roles = defect in OF_ROLES
    for seed in islice(seeds_of(changes_roles=of_roles), MOST_SEEDS):
        failure = run_seed(seed)
        if failure is not None:
            misfit = failure.what.startswith(_MISFITS)
            return Found(name, None if misfit else seed, failure.what)
    return Found(name, None, f"not found by {MOST_SEEDS} seeds")


def main(names: Sequence[str]) -> int:
    """Finds all of them, or those named; the exit code is how many were not found.

    One line each: the name, the seed or -, and what was found, between tabs.
    """
    wanted = names or [defect.name for defect in DEFECTS]
    missed = 0
    with multiprocessing.get_context("fork").Pool(maxtasksperchild=1) as pool:
        for found in pool.imap(find, wanted, chunksize=1):
            seed = "-" if found.seed is None else str(found.seed)
            print(found.name, seed, found.what.splitlines()[0], sep="\t")  # noqa: T201 - for people
            missed += found.seed is None
    return missed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
