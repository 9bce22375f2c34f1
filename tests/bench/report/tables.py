"""The tables of a record: what is in them, and as markdown for the docs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tests.bench.peers import pair
from tests.bench.report import results
from tests.bench.report.laws import law

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tests.bench.report.findings import Grid, Panel, Rates
    from tests.bench.report.laws import Law
    from tests.bench.report.record import Record

_QUICK = "**A quick run, to see that it works: these are no figures to go by.**"


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
    yield from _points(found.panels)
    yield from _laws(found.panels)
    for grid in found.grids:
        yield _grid(grid)
    if found.findings:
        yield _findings(record)


def markdown(record: Record) -> str:
    """All tables, and below them how they were taken."""
    parts = ["\n".join(_markdown_lines(each)) for each in tables(record)]
    if record.settings.quick:
        parts.insert(0, _QUICK)
    parts += not_judged(record)
    parts += [
        f"After the run: {peer}: {text}." for peer, text in record.found.checks.items()
    ]
    parts.append(f"*{record.caption()}*")
    return "\n\n".join(parts)


def not_judged(record: Record) -> list[str]:
    """Where there is a goal that says nothing of this run."""
    if any(record.verdict(each) == "not judged" for each in record.found.findings):
        return [f"Not judged: {record.not_judged}."]
    return []


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


def _points(panels: Iterable[Panel]) -> Iterator[Table]:
    """One table a variable: the points of each cost, and of each service."""
    told = [each for each in panels if each.step]
    for variable in dict.fromkeys(each.x_label for each in told):
        columns = {
            f"{name}, {panel.y_label}": dict(points)
            for panel in told
            if panel.x_label == variable
            for name, points in panel.lines.items()
        }
        places = sorted({x for points in columns.values() for x in points})
        rows = [
            (f"{x:,.0f}", *(number(points[x]) for points in columns.values()))
            for x in places
        ]
        yield Table("", (variable, *columns), rows)


def _laws(panels: Iterable[Panel]) -> Iterator[Table]:
    """What those points say."""
    told = [each for each in panels if each.step]
    if told:
        rows = [
            (each.title, *(_law(each, law(points)) for points in each.lines.values()))
            for each in told
        ]
        title = "What the points say, each of one service alone"
        yield Table(title, ("cost", *told[0].lines), rows)


def _law(panel: Panel, found: Law) -> str:
    unit = panel.y_label.split()[0]
    start = f"{number(found.start)} {unit}"
    if found.flat:
        word = "flat" if found.steady else "no trend"
        return f"{word}: {start} ({number(found.low)} to {number(found.high)})"
    slope = number(abs(found.slope) * panel.step)
    text = f"{start} {'-+'[found.slope > 0]} {slope} {unit} {panel.step_name}"
    if found.knee is not None:
        beyond = number(found.beyond * panel.step)
        text += f" up to {found.knee:,.0f}, then {beyond} {unit}"
    return f"{text}, R2 {found.explained:.2f}"


def number(value: float) -> str:
    """Three digits that count, and no exponent."""
    size = abs(value)
    if size < 0.005:
        return "0.00"  # and not -0.00
    if size >= 99.95:
        return f"{value:,.0f}"
    if size >= 9.995:
        return f"{value:.1f}"
    return f"{value:.2f}"
