"""Runs seeds of the simulation, or replays one; see `make sim` in the README."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

from cyclopts import App
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

from tests.sim.seeds import replay, run_seed
from tests.sim.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.sim.seeds import Failure

app = App(name="make sim", help=__doc__)
_console = Console()
#: Without a terminal there is a line every so many seeds.
_LINE_EVERY = 100


@app.default
def main(
    *, seeds: int = 500, start: int = 0, seed: int | None = None, trace: bool = False
) -> None:
    """Runs seeds until one fails, or replays one.

    Args:
        seeds: how many.
        start: the first of them.
        seed: only this one.
        trace: with `seed`, says who does what, when.
    """
    if seed is not None:
        World(seed, print if trace else None).run()
        _console.print(f"seed {seed}: all invariants hold")
        return
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(run_seed, range(start, start + seeds), chunksize=4)
        failure = next((f for f in _shown(results, seeds) if f is not None), None)
        pool.shutdown(cancel_futures=True)
    if failure is not None:
        _console.print(
            f"seed {failure.seed} fails: {failure.what}", markup=False, soft_wrap=True
        )
        _console.print(
            f"replay it with: {replay(failure.seed)}", markup=False, soft_wrap=True
        )
        sys.exit(1)
    _console.print(f"{seeds} seeds from {start}: all invariants hold")


def _shown(results: Iterator[Failure | None], total: int) -> Iterator[Failure | None]:
    """The results, with a bar on a terminal, and plain lines in a pipe."""
    if not _console.is_terminal:
        for number, result in enumerate(results, 1):
            if number % _LINE_EVERY == 0:
                _console.print(f"{number} of {total} seeds")
            yield result
        return
    columns = (*Progress.get_default_columns()[:3], MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=_console) as progress:
        yield from progress.track(results, total=total, description="seeds")


if __name__ == "__main__":
    app()
