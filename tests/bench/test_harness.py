"""The benchmark itself works: its arithmetic, its client, its check of the replica."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING

import pytest

from tests.bench.catalogue import BENCHES, BY_NAME
from tests.bench.load import fio
from tests.bench.load.loads import BY_NAME as LOADS
from tests.bench.measure import memory
from tests.bench.measure.compare import Plan, check_alike, compare, order
from tests.bench.peers import pair, unreplicated
from tests.bench.peers.images import fill
from tests.bench.report import page, record, results, tables
from tests.bench.report.findings import Finding, Found, Grid, Panel
from tests.bench.report.record import Machine, Record, Settings
from tests.tools import require_tool, run

if TYPE_CHECKING:
    from pathlib import Path

_QD32 = LOADS["4k randwrite QD32"]
_MACHINE = Machine(2, "6.1.0-x", "3.11.2", "tmpfs", 0.25, "2026-11-25")


def _record(found: Found) -> Record:
    return Record("compare", Settings(1 << 30, 2.0, 3), _MACHINE, found)


def test_a_ratio_is_the_median_of_the_rounds_ratios_and_has_their_spread() -> None:
    rates = {"x": {pair.NAME: [10.0, 100.0, 30.0], "peer": [5.0, 10.0, 20.0]}}
    assert results.ratio(rates, "x", "peer") == results.Ratio(2, 1.5, 10)
    assert results.ratio(rates, "x", "absent") is None


def test_a_goal_is_met_from_its_factor_on() -> None:
    rates = {
        _QD32.name: {pair.NAME: [60.0], unreplicated.NBDKIT: [100.0]},
        "1M write QD8": {pair.NAME: [39.0], unreplicated.NBDKIT: [100.0]},
    }
    assert [each.met for each in results.judged(rates)] == [True, False]


def test_two_rounds_take_the_peers_there_and_back_then_another_begins() -> None:
    peers: list[object] = ["a", "b", "c"]
    orders = ["".join(order(peers, number)) for number in range(5)]  # type: ignore[arg-type]
    assert orders == ["abc", "cba", "bca", "acb", "cab"]


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


def test_a_record_that_is_read_again_is_the_same(tmp_path: Path) -> None:
    sample = fio.Measured(1000, 4, 20, 90)._asdict()
    written = _record(
        Found(
            [Finding("rate", 0.5, "x", 0.7, True, (0.25, 0.75)), Finding("n", 3, "")],
            [Grid("CPU", "load", {"4k": {"primary": 11.5, "secondary": 10.25}})],
            [Panel("Memory", "seconds", "MiB", {"primary": [(0, 50), (1, 51)]})],
            {pair.NAME: "equal"},
            {"4k": {pair.NAME: [sample]}},
        )
    )
    written.save(tmp_path / "out.json")
    read = record.load(tmp_path / "out.json")
    assert tables.markdown(read) == tables.markdown(written)
    assert read.found.findings == written.found.findings
    assert read.settings == written.settings


def test_a_table_says_spread_goal_and_verdict() -> None:
    found = Found([Finding("rate", 0.5, "x", 0.7, True, (0.25, 0.75))])
    text = tables.markdown(_record(found))
    assert "| rate | 0.50 x (0.25 to 0.75) | >= 0.7 x | missed |" in text
    assert "images of 1 GiB, 3 rounds, 2 s a load, tmpfs" in text


def test_memory_that_rises_has_a_slope_and_is_not_flat() -> None:
    steady = [(float(x), 50.0 + x % 3) for x in range(600)]
    rising = [(float(x), 50 + x / 60 + x % 3) for x in range(600)]
    panel = Panel("Memory", "seconds", "MiB", {"a": steady, "b": rising})
    slopes = [each for each in memory.judged(panel, 600) if each.goal is not None]
    assert [each.met for each in slopes] == [True, True, False, False]
    assert [each.reached for each in slopes[2:]] == pytest.approx([1, 1], rel=0.05)
    assert "last 8.0 minutes" in slopes[2].what


def test_a_queue_that_fills_late_raises_the_slope_and_not_the_lows() -> None:
    line = [(float(x), 80.0 if x > 500 and x % 5 else 50.0) for x in range(600)]
    panel = Panel("Memory", "seconds", "MiB", {"a": line})
    slopes = [each for each in memory.judged(panel, 600) if each.goal is not None]
    assert [each.met for each in slopes] == [False, True]


def test_peers_that_do_not_begin_alike_are_refused(tmp_path: Path) -> None:
    base, image = tmp_path / "base", tmp_path / "image"
    fill(base, 1 << 20)
    image.write_bytes(base.read_bytes())
    same = unreplicated.Unreplicated("same", "", image)
    check_alike([same], base)
    image.write_bytes(bytes(1 << 20))
    with pytest.raises(AssertionError, match="does not begin as"):
        check_alike([same], base)


def test_make_has_a_target_for_each_benchmark() -> None:
    makefile = (page.PAGE.parents[1] / "Makefile").read_text()
    line = next(x for x in makefile.splitlines() if x.startswith("BENCHES := "))
    assert line.split()[2:] == list(BY_NAME)


def test_an_option_that_means_nothing_is_refused() -> None:
    output = run(
        sys.executable, "-m", "tests.bench", "cores", "--size", "1G", check=False
    )
    assert output.strip() == "cores has no --size: leave it out"


def test_the_docs_tables_are_what_the_json_says() -> None:
    text = page.PAGE.read_text()
    assert page.filled(text) == text, "run make bench-docs"
    assert sorted(page.places(text)) == sorted([page.COMMANDS, *BY_NAME])
    assert len(BY_NAME) == len(BENCHES)


def test_the_docs_show_every_plot_and_no_other() -> None:
    shown = re.findall(r"\]\(performance/(\S+\.png)\)", page.PAGE.read_text())
    assert sorted(shown) == sorted(each.name for each in page.RECORDS.glob("*.png"))


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
    _record(found).save(tmp_path / "out.json")
    assert record.load(tmp_path / "out.json").found.findings
