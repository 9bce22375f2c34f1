"""The benchmark itself works: its arithmetic, its client, its check of the replica."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.bench import fio, pair, report, results, unreplicated
from tests.bench.compare import Plan, compare
from tests.bench.loads import BY_NAME
from tests.tools import require_tool

if TYPE_CHECKING:
    from pathlib import Path

_QD32 = BY_NAME["4k randwrite QD32"]


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    rates = {"x": {pair.NAME: [10.0, 100.0, 30.0], "peer": [5.0, 10.0, 20.0]}}
    assert results.ratio(rates, "x", "peer") == 2
    assert results.ratio(rates, "x", "absent") is None


def test_a_goal_is_met_from_its_factor_on() -> None:
    rates = {
        _QD32.name: {pair.NAME: [60.0], unreplicated.NBDKIT: [100.0]},
        "1M write QD8": {pair.NAME: [39.0], unreplicated.NBDKIT: [100.0]},
    }
    assert [met for _, _, met in results.judged(rates)] == [True, False]


def test_both_sides_of_a_mixed_load_count() -> None:
    def side(count: int) -> dict[str, object]:
        latency = {"percentile": {"50.000000": 1000 * count, "99.000000": 9000}}
        return {
            "total_ios": count,
            "iops": count,
            "bw_bytes": count << 20,
            "clat_ns": latency,
        }

    output = "warning\n" + json.dumps({"jobs": [{"read": side(2), "write": side(3)}]})
    assert fio.parse(output) == fio.Measured(5, 5, 3, 9)


@pytest.mark.integration
@pytest.mark.nbd
def test_a_short_comparison_measures_and_checks_the_replica(tmp_path: Path) -> None:
    require_tool("fio")
    require_tool("nbdkit")
    peers = (pair.NAME, unreplicated.NBDKIT)
    said: list[str] = []
    plan = Plan(4 << 20, rounds=1, seconds=0.3, loads=(_QD32,), peers=peers)
    found = compare(plan, tmp_path, said.append)
    assert all(found.rates[_QD32.name][peer][0] > 0 for peer in peers)
    assert len(said) == 3
    assert "equal byte for byte" in found.checks[pair.NAME]
    report.save_json(found, tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text())["goals"]
