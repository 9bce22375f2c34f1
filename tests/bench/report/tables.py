"""The tables of a record: markdown for the docs, colour for a terminal."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Literal, NamedTuple

from rich.table import Table as RichTable

from tests.bench.peers import pair
from tests.bench.report import results

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

    from tests.bench.report.findings import Grid, Panel, Rates
    from tests.bench.report.record import Record

_FEW_POINTS = 20
_QUICK = "**A quick run, to see that it works: these are no figures to go by.**"
_COLOURS = {"met": "green", "missed": "red"}


class Table(NamedTuple):
    """Cells as text; the first column is what the row is about."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def tables(record: Record) -> Iterator[Table]:
    """What the docs show of it."""
    found = record.found
    if found.rates:
        yield _rates(found.rates)
    for grid in found.grids:
        yield _grid(grid)
    if found.findings:
        yield _findings(record)


def markdown(record: Record) -> str:
    """All tables, and below them how they were taken."""
    parts = ["\n".join(_markdown_lines(each)) for each in tables(record)]
    if record.settings.quick:
        parts.insert(0, _QUICK)
    parts += _not_judged(record)
    parts += [f"After the run: {peer}: {text}." for peer, text in _checks(record)]
    parts.append(f"*{record.caption()}*")
    return "\n\n".join(parts)


def show(record: Record, console: Console) -> None:
    """Prints them, and the points of plots that have few."""
    few = [_panel(each) for each in record.found.panels if _is_short(each)]
    for table in (*few, *tables(record)):
        console.print(_shown(table, console.width))
    for line in _not_judged(record):
        console.print(line)
    for peer, text in _checks(record):
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


def _not_judged(record: Record) -> list[str]:
    """Where there is a goal that says nothing of this run."""
    if any(record.verdict(each) == "not judged" for each in record.found.findings):
        return [f"Not judged: {record.not_judged}."]
    return []


def _checks(record: Record) -> Iterator[tuple[str, str]]:
    yield from record.found.checks.items()


def _coloured(cell: str) -> str:
    return f"[{_COLOURS[cell]}]{cell}[/]" if cell in _COLOURS else cell


def _markdown_lines(table: Table) -> Iterator[str]:
    if table.title:
        yield f"{table.title}:\n"
    yield f"| {' | '.join(table.columns)} |"
    yield f"|---|{'---:|' * (len(table.columns) - 1)}"
    for row in table.rows:
        yield f"| {' | '.join(row)} |"


def _rates(rates: Rates) -> Table:
    """Medians; in brackets the median of our rate by theirs, and its spread."""
    peers = list(next(iter(rates.values())))
    rows = []
    for load, by_peer in results.medians(rates).items():
        cells = [load]
        for peer in peers:
            found = None if peer == pair.NAME else results.ratio(rates, load, peer)
            cells.append(f"{by_peer[peer]:,.0f}{_ratio_text(found)}")
        rows.append(tuple(cells))
    title = (
        "Median IOPS; in brackets, this system's rate divided by that one's: median,"
        " and smallest to largest of the rounds"
    )
    return Table(title, ("load", *peers), rows)


def _ratio_text(found: results.Ratio | None) -> str:
    if found is None:
        return ""
    return f" ({number(found.median)}x, {number(found.low)} to {number(found.high)})"


def _grid(grid: Grid) -> Table:
    columns = tuple(next(iter(grid.cells.values())))
    rows = [
        (name, *(number(by_column[column]) for column in columns))
        for name, by_column in grid.cells.items()
    ]
    return Table(grid.title, (grid.rows_are, *columns), rows)


def _findings(record: Record) -> Table:
    rows = []
    for each in record.found.findings:
        spread = ""
        if each.spread is not None:
            low, high = each.spread
            spread = f" ({number(low)} to {number(high)})"
        sign = ">=" if each.at_least else "<="
        goal = "" if each.goal is None else f"{sign} {each.goal:g} {each.unit}"
        reached = f"{number(each.reached)} {each.unit}".strip()
        rows.append((each.what, reached + spread, goal, record.verdict(each)))
    return Table("", ("what", "reached", "goal", ""), rows)


def _is_short(panel: Panel) -> bool:
    return all(len(line) <= _FEW_POINTS for line in panel.lines.values())


def _panel(panel: Panel) -> Table:
    names = tuple(panel.lines)
    places = sorted({x for points in panel.lines.values() for x, _ in points})
    at = {name: dict(points) for name, points in panel.lines.items()}
    rows = [
        (f"{x:g}", *(number(at[name][x]) if x in at[name] else "" for name in names))
        for x in places
    ]
    return Table(f"{panel.title}, {panel.y_label}", (panel.x_label, *names), rows)


def number(value: float) -> str:
    """Three digits that count, and no exponent."""
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    if size >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}"
