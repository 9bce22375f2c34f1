"""The invariants hold in a simulated group, whatever dies; see `world`."""

from __future__ import annotations

import pytest

from tests.sim.seeds import replay, run_seed

#: Together about a minute on a slow machine; 16 seeds meet every scenario.
_CASES = 14
_SEEDS = 16


@pytest.mark.timeout(180)
@pytest.mark.parametrize("first", range(0, _CASES * _SEEDS, _SEEDS))
def test_invariants_hold_in_every_step_of(first: int) -> None:
    for seed in range(first, first + _SEEDS):
        failure = run_seed(seed)
        assert failure is None, f"{failure.what}\nreplay it with: {replay(seed)}"
