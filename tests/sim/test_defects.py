"""The simulation finds every deliberate defect; see `defects`."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.sim.defects import DEFECTS
from tests.sim.defects.planting import occurrences

if TYPE_CHECKING:
    from tests.sim.defects.defect import Defect


@pytest.fixture(scope="module")
def found() -> dict[str, tuple[str, str]]:
    """By name: the seed that found the defect, or -, and what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.sim.defects"],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.stdout, done.stderr
    rows = [line.split("\t", 2) for line in done.stdout.splitlines()]
    return {name: (seed, what) for name, seed, what in rows}


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_the_source_still_has_the_place_of(defect: Defect) -> None:
    places = occurrences(defect)
    assert places == 1, f"{defect.name}: its old text is {places} times in the source"


@pytest.mark.timeout(420)
@pytest.mark.parametrize("name", [defect.name for defect in DEFECTS])
def test_a_seed_finds(name: str, found: dict[str, tuple[str, str]]) -> None:
    seed, what = found[name]
    assert seed != "-", f"{name}: {what}; make the simulation stronger"
