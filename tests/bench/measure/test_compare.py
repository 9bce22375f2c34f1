"""Peers begin alike and take turns; the replica is checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.bench.load.loads import BY_NAME as LOADS
from tests.bench.measure.compare import Plan, check_alike, compare, order
from tests.bench.measure.run import Run
from tests.bench.peers import pair, unreplicated
from tests.bench.peers.images import fill
from tests.bench.report.settings import Settings
from tests.tools import require_tool

if TYPE_CHECKING:
    from pathlib import Path

_QD32 = LOADS["4k randwrite QD32"]


def test_two_rounds_take_the_peers_there_and_back_then_another_begins() -> None:
    peers: list[object] = ["a", "b", "c"]
    orders = ["".join(order(peers, number)) for number in range(5)]  # type: ignore[arg-type] # letters
    assert orders == ["abc", "cba", "bca", "acb", "cab"]


def test_peers_that_do_not_begin_alike_are_refused(tmp_path: Path) -> None:
    base, image = tmp_path / "base", tmp_path / "image"
    fill(base, 1 << 20)
    image.write_bytes(base.read_bytes())
    same = unreplicated.Unreplicated("same", "", image)
    check_alike([same], base)
    image.write_bytes(bytes(1 << 20))
    with pytest.raises(AssertionError, match="does not begin as"):
        check_alike([same], base)


@pytest.mark.integration
@pytest.mark.nbd
def test_a_short_comparison_measures_and_checks_the_replica(tmp_path: Path) -> None:
    require_tool("fio")
    require_tool("nbdkit")
    peers = (pair.NAME, unreplicated.NBDKIT)
    said: list[str] = []
    settings = Settings(4 << 20, seconds=0.3, rounds=1)
    run = Run(tmp_path, settings, said.append)
    found = compare(Plan(run, loads=(_QD32,), peers=peers))
    assert all(found.rates[_QD32.name][peer][0] > 0 for peer in peers)
    assert len(said) == 3
    assert "equal byte for byte" in found.checks[pair.NAME]
    assert found.findings
