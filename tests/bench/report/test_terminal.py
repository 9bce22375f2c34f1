"""A table is read in a terminal of 80 columns."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from tests.bench.report import page, record, tables, terminal

_NAMES = sorted(each.stem for each in page.RECORDS.glob("*.json"))


@pytest.mark.parametrize("name", _NAMES)
def test_no_word_is_cut_at_80_columns(name: str) -> None:
    shown = io.StringIO()
    taken = record.load(page.RECORDS / f"{name}.json")
    terminal.show(taken, Console(file=shown, width=80))
    lines = shown.getvalue().splitlines()
    rows = [line for line in lines if line.startswith("│")]
    assert rows
    assert all(line.endswith("│") for line in rows), "the last column is cut"
    words = set(shown.getvalue().split())
    for table in tables.tables(taken):
        assert {word for head in table.columns for word in head.split()} <= words
