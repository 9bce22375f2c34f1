"""One seed, from its number to what it found."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tests.sim.world import World

if TYPE_CHECKING:
    from collections import Counter


class Failure(NamedTuple):
    """A seed that broke an invariant, and which."""

    seed: int
    what: str


def replay(seed: int) -> str:
    """The command that replays a seed with a trace."""
    return f"make sim SEED={seed} TRACE=1"


def run_seed(seed: int, tally: Counter[str] | None = None) -> Failure | None:
    """Runs one seed; any exception is a failure.

    Args:
        seed: its number.
        tally: what happened in it is added here.
    """
    world = World(seed)
    try:
        world.run()
    except Exception as error:  # noqa: BLE001 - whatever it is, it has a seed
        return Failure(seed, f"{type(error).__name__}: {error}")
    if tally is not None:
        tally.update(world.tally)
    return None
