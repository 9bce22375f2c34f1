"""Shows a comparison: a table for people, JSON for programs, a plot for the docs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rich.table import Table

from tests.bench import pair, results

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from tests.bench.compare import Comparison

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


def save_plot(comparison: Comparison, path: Path) -> None:
    """Draws the median rates, one panel a load."""
    import matplotlib as mpl  # noqa: PLC0415 - only in the bench extra

    mpl.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

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
