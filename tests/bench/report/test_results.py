"""A comparison is judged by the median of its rounds."""

from __future__ import annotations

from tests.bench.load.loads import BY_NAME as LOADS
from tests.bench.peers import pair, qemu_replication, unreplicated
from tests.bench.report import results

_QD32 = LOADS["4k randwrite QD32"]


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


def test_beside_a_goal_of_qemu_over_tcp_its_unix_sockets_are_told_without_one() -> None:
    names = (pair.NAME, qemu_replication.NAME, qemu_replication.UNIX)
    rates = {_QD32.name: dict(zip(names, ([60.0], [3.0], [20.0]), strict=True))}
    over_tcp, over_unix = results.judged(rates)
    assert (over_tcp.reached, over_tcp.met) == (20, True)
    assert (over_unix.reached, over_unix.met) == (3, None)
    assert over_unix.what == f"{_QD32.name}, of QEMU replication, unix sockets"
