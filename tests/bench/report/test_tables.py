"""Points and what they say stand in tables, made of what was measured."""

from __future__ import annotations

from tests.bench.report import tables
from tests.bench.report.findings import Found, Panel
from tests.bench.report.record import Machine, Record
from tests.bench.report.settings import Settings

_MACHINE = Machine(2, "6.1.0-x", "3.11.2", "tmpfs", 0.25, "2026-11-25")
_X = (0, 500, 1000, 2000, 4000, 8000, 16000)


def _text(*panels: Panel) -> str:
    found = Found(panels=list(panels))
    return tables.markdown(Record("growth", Settings(), _MACHINE, found))


def test_the_costs_of_a_variable_share_a_table_and_each_has_its_law() -> None:
    by = ("groups", 100, "per 100 groups")
    cpu = {"primary": [(1.0, 0.5), (11.0, 1.5), (101.0, 10.5)]}
    memory = {"primary": [(1.0, 47.0), (11.0, 47.2), (101.0, 47.4)]}
    text = _text(
        Panel("CPU", by[0], "% of a core", cpu, False, *by[1:]),
        Panel("Memory", by[0], "MiB", memory, False, *by[1:]),
    )
    assert "| groups | primary, % of a core | primary, MiB |" in text
    assert "| 101 | 10.5 | 47.4 |" in text
    assert "| CPU | 0.40 % + 10.0 % per 100 groups, R2 1.00 |" in text
    assert "| Memory | flat: 47.2 MiB (47.0 to 47.4) |" in text


def test_a_law_with_a_knee_says_both_slopes() -> None:
    line = [(float(x), 2 + 0.01 * min(x, 2000) - 0.001 * max(0, x - 2000)) for x in _X]
    panel = Panel(
        "CPU", "writes", "% of a core", {"primary": line}, False, 1000, "each"
    )
    assert "| 2.00 % + 10.0 % each up to 2,000, then -1.00 %, R2 1.00 |" in _text(panel)


def test_a_plot_of_one_run_has_no_table() -> None:
    assert "|" not in _text(Panel("Memory", "seconds", "MiB", {"a": [(0, 1), (1, 2)]}))
