"""One seed, from its number to what it found."""

from __future__ import annotations

from typing import NamedTuple

from tests.sim.world import World


class Failure(NamedTuple):
    """A seed that broke an invariant, and which."""

    seed: int
    what: str


def replay(seed: int) -> str:
    """The command that replays a seed with a trace."""
    return f"make sim SEED={seed} TRACE=1"


def run_seed(seed: int) -> Failure | None:
    """Runs one seed; any exception is a failure."""
    try:
        World(seed).run()
    except Exception as error:  # noqa: BLE001 - whatever it is, it has a seed
        return Failure(seed, f"{type(error).__name__}: {error}")
    return None
