"""Shows a comparison: a table for people, JSON for programs, a plot for the docs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rich.table import Table

from tests.bench import pair, results

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import Console

    from tests.bench.compare import Comparison
    from tests.bench.growth import Panel

#: From so many points on a line needs no marks.
_FEW_POINTS = 20
_COLOURS = ("#2a6f97", "#bc4b51", "#8a9a5b", "#9c89b8")


def show(comparison: Comparison, console: Console) -> None:
    """Prints medians, ratios and goals."""
    console.print(_rates_table(comparison))
    console.print(_goals_table(comparison))
    for peer, found in comparison.checks.items():
        console.print(f"{peer}: {found}")


def _rates_table(comparison: Comparison) -> Table:
    plan = comparison.plan
    table = Table(
        title=f"median IOPS of {plan.rounds} rounds of {plan.seconds:g} s"
        f" (in brackets: blkcolo's rate divided by this one's)"
    )
    table.add_column("load")
    for name in plan.peers:
        table.add_column(name, justify="right")
    for load, by_peer in results.medians(comparison.rates).items():
        cells = []
        for name in plan.peers:
            factor = results.ratio(comparison.rates, load, name)
            same = name == pair.NAME or factor is None
            note = "" if same else f" ({factor:.2f}x)"
            cells.append(f"{by_peer[name]:,.0f}{note}")
        table.add_row(load, *cells)
    return table


def _goals_table(comparison: Comparison) -> Table:
    table = Table(title="goals, as medians of ratios")
    table.add_column("load")
    table.add_column("against")
    for column in ("goal", "reached", ""):
        table.add_column(column, justify="right")
    for goal, reached, met in results.judged(comparison.rates):
        verdict = "[green]met[/]" if met else "[red]missed[/]"
        table.add_row(
            goal.load, goal.peer, f"{goal.factor:g}x", f"{reached:.2f}x", verdict
        )
    return table


def save_json(comparison: Comparison, path: Path) -> None:
    """Writes all samples and what follows from them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(comparison.to_json(), indent=1) + "\n")


def _pyplot() -> Any:
    import matplotlib as mpl  # noqa: PLC0415 - only in the bench extra

    mpl.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    return pyplot


def save_growth(panels: Sequence[Panel], path: Path) -> None:
    """Draws what was measured, point by point, one plot a panel; JSON beside it."""
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(
        1,
        len(panels),
        figsize=(3.6 * len(panels) + 1, 3.2),
        squeeze=False,
        layout="constrained",
    )
    for axis, panel in zip(axes.flat, panels, strict=True):
        for colour, (name, points) in zip(_COLOURS, panel.lines.items(), strict=False):
            x, y = [x for x, _ in points], [y for _, y in points]
            style = {"marker": "o"} if len(points) < _FEW_POINTS else {}
            axis.plot(x, y, markersize=4, color=colour, label=name, **style)
        if panel.log_x:
            axis.set_xscale("log", base=2)
            ticks = [x for x, _ in next(iter(panel.lines.values()))]
            axis.set_xticks(ticks, [f"{each:g}" for each in ticks])
        else:
            axis.locator_params(axis="x", nbins=5)
        axis.set_title(panel.title, fontsize=10, loc="left")
        axis.set_xlabel(panel.x_label, fontsize=8)
        axis.set_ylabel(panel.y_label, fontsize=8)
        axis.set_ylim(bottom=0)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    axes.flat[0].legend(fontsize=8, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    content = [panel._asdict() for panel in panels]
    path.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n")


def save_plot(comparison: Comparison, path: Path) -> None:
    """Draws the median rates, one panel a load."""
    pyplot = _pyplot()
    rates = results.medians(comparison.rates)
    columns = 3
    rows = -(-len(rates) // columns)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(11, 2.6 * rows), squeeze=False, layout="constrained"
    )
    for axis in axes.flat[len(rates) :]:
        axis.set_visible(False)
    block = {load.name: load.block_bytes for load in comparison.plan.loads}
    for axis, (load, by_peer) in zip(axes.flat, rates.items(), strict=False):
        small = block[load] < 1 << 16
        unit = "thousand IOPS" if small else "MiB/s"
        scale = 1000 if small else (1 << 20) / block[load]
        names = list(by_peer)
        values = [by_peer[name] / scale for name in names]
        bars = axis.barh(names, values, color=_COLOURS[: len(names)])
        axis.bar_label(bars, fmt="%.1f" if small else "%.0f", padding=3, fontsize=8)
        axis.set_title(load, fontsize=10, loc="left")
        axis.set_xlabel(unit, fontsize=8)
        axis.margins(x=0.18)
        axis.tick_params(labelsize=8)
        axis.invert_yaxis()
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[:, 1:].flat:
        axis.set_yticklabels([])
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
