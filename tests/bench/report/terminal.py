"""The tables of a record on a terminal, or in a pipe."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Literal

from rich.table import Table as RichTable

from tests.bench.report.tables import Table, not_judged, tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from tests.bench.report.record import Record

_COLOURS = {"met": "green", "missed": "red"}


def show(record: Record, console: Console) -> None:
    """Prints all tables, and below them how they were taken."""
    for table in tables(record):
        console.print(_shown(table, console.width))
    for line in not_judged(record):
        console.print(line)
    for peer, text in record.found.checks.items():
        console.print(f"{peer}: {text}")
    console.print(record.caption())


def _shown(table: Table, width: int) -> RichTable:
    """No word is cut at so many characters a line; if need be, rows are columns."""
    if _around(table) + sum(_longest_words(table)) > width:
        table = _turned(table)
    shown = RichTable(title=table.title or None)
    widths = _widths(table, width - _around(table))
    for number, (name, each) in enumerate(zip(table.columns, widths, strict=True)):
        justify: Literal["right", "left"] = "right" if number else "left"
        shown.add_column(name, justify=justify, width=each, overflow="fold")
    for row in table.rows:
        shown.add_row(*(_coloured(cell) for cell in row))
    return shown


def _around(table: Table) -> int:
    """A line between two columns, and a blank on both sides of each."""
    return 3 * len(table.columns) + 1


def _cells(table: Table) -> Iterator[tuple[str, ...]]:
    """Column by column, with their heads."""
    return zip(table.columns, *table.rows, strict=True)


def _longest_words(table: Table) -> list[int]:
    """Of each column; an empty one has a width, too."""
    return [
        max(len(word) for word in [*" ".join(cells).split(), " "])
        for cells in _cells(table)
    ]


def _widths(table: Table, room: int) -> list[int]:
    """Of each column: its longest word; what is left goes to figures, then to names."""
    widths = _longest_words(table)
    longest = [max(map(len, cells)) for cells in _cells(table)]
    for _ in range(room - sum(widths)):
        names, *figures = map(operator.sub, longest, widths)
        if most := max(figures):
            widths[1 + figures.index(most)] += 1
        elif names:
            widths[0] += 1
    return widths


def _turned(table: Table) -> Table:
    """Rows are columns, and columns rows."""
    columns, *rows = _cells(table)
    return Table(table.title, columns, rows)


def _coloured(cell: str) -> str:
    return f"[{_COLOURS[cell]}]{cell}[/]" if cell in _COLOURS else cell
