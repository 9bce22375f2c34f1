"""What `make soak` says when a life fails, and when none does."""

from __future__ import annotations

import io
import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from tests.fault import soak
from tests.fault.kill_rounds import Setting

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


class FakeLife:
    """Lives, or dies in its second round, by its seed."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.seed = seed
        self.setting = Setting("host", True, "async", 0.0)
        self.kills: Counter[str] = Counter(primary=3)

    def run(self, rounds: int, after_round: Callable[[], None]) -> None:
        for _ in range(rounds):
            after_round()
            assert self.seed != 8, "a byte differs"

    def close(self) -> None:
        """Nothing runs."""


def soaked(monkeypatch: pytest.MonkeyPatch, rounds: int) -> tuple[bool, str]:
    monkeypatch.setattr(soak, "Life", FakeLife)
    out = io.StringIO()
    done = soak.soak(rounds, 7, Console(file=out, width=120))
    return done, out.getvalue()


def test_it_counts_rounds_and_kills_in_plain_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done, output = soaked(monkeypatch, 10)
    assert done
    assert "10 kill rounds, seed 7" in output
    assert "nothing lost: 3 kills in 10 rounds" in output
    assert "\x1b" not in output


def test_failed_life_is_told_with_its_seed_and_its_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done, output = soaked(monkeypatch, 15)
    assert not done
    assert "a byte differs" in output
    assert "again: make soak ROUNDS=5 SEED=8" in output
    folder = Path(output.split("logs and disks: ")[1].splitlines()[0])
    assert folder.is_dir()
    shutil.rmtree(folder)
