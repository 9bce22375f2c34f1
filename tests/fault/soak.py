"""`make soak ROUNDS=N`: as many kill rounds as one likes, from a seed.

    python -m tests.fault.soak --rounds 100 [--seed S]

A life has ten rounds and a seed of its own; where one fails, its seed and the folder
with its logs and disks are printed, and that life alone is run again with them.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from tests.fault.kill_rounds import Life

if TYPE_CHECKING:
    from collections.abc import Callable

_ROUNDS_OF_A_LIFE = 10


def soak(rounds: int, seed: int, console: Console) -> bool:
    """Runs the rounds; True if nothing was lost."""
    console.print(f"{rounds} kill rounds, seed {seed}", highlight=False)
    kills: Counter[str] = Counter()
    began = time.monotonic()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("rounds", total=rounds)
        for number, start in enumerate(range(0, rounds, _ROUNDS_OF_A_LIFE)):
            count = min(_ROUNDS_OF_A_LIFE, rounds - start)
            if not _live(
                seed + number, count, kills, console, lambda: bar.advance(task)
            ):
                return False
            if not console.is_terminal:
                seconds = time.monotonic() - began
                done = start + count
                console.print(f"{done} of {rounds} rounds, {seconds:.0f} s")
    for what, count in sorted(kills.items()):
        console.print(f"  {count:4} x {what}", highlight=False)
    console.print(
        f"nothing lost: {sum(kills.values())} kills in {rounds} rounds,"
        f" {time.monotonic() - began:.0f} s",
        highlight=False,
    )
    return True


def _live(
    seed: int,
    rounds: int,
    kills: Counter[str],
    console: Console,
    after_round: Callable[[], None],
) -> bool:
    """One life; its folder stays where it failed."""
    folder = Path(tempfile.mkdtemp(prefix="blkcolo-soak-"))
    life = Life(folder, seed)
    try:
        try:
            life.run(rounds, after_round)
        finally:
            life.close()
    except Exception:  # noqa: BLE001 - any failure is shown with its seed
        console.print_exception()
        console.print(
            f"FAILED: {life.setting}\nlogs and disks: {folder}\n"
            f"again: make soak ROUNDS={rounds} SEED={seed}",
            highlight=False,
        )
        return False
    kills.update(life.kills)
    shutil.rmtree(folder)
    return True


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, help="by default a random one")
    options = parser.parse_args()
    seed = options.seed
    if seed is None:
        seed = random.SystemRandom().randrange(1 << 31)
    return 0 if soak(options.rounds, seed, Console()) else 1


if __name__ == "__main__":
    sys.exit(main())
