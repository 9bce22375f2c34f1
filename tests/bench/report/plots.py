"""The plots of a record, as PNG."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.bench.load.loads import BY_NAME
from tests.bench.report import results
from tests.bench.report.laws import law

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.bench.report.findings import Panel, Rates
    from tests.bench.report.laws import Law
    from tests.bench.report.record import Record

_COLUMNS = 3
#: The two costs of a variable stand side by side.
_PANEL_COLUMNS = 2
#: So many places on a line of a law.
_LINE_PLACES = 200
_COLOURS = ("#2a6f97", "#bc4b51", "#8a9a5b", "#9c89b8", "#d9a441")


def save(record: Record, path: Path) -> bool:
    """Draws what there is to draw; False where that is nothing."""
    if record.found.rates:
        _save_rates(record.found.rates, path)
    elif record.found.panels:
        _save_panels(record.found.panels, path)
    else:
        return False
    return True


def _pyplot() -> Any:
    import matplotlib as mpl  # noqa: PLC0415 - only in the bench extra

    mpl.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415 - bench extra

    return pyplot


def _axes(
    pyplot: Any, count: int, height: float, columns: int = _COLUMNS
) -> tuple[Any, Any]:
    columns = min(count, columns)
    rows = -(-count // columns)
    figure, axes = pyplot.subplots(
        rows,
        columns,
        figsize=(11 if columns > 1 else 7, height * rows),
        squeeze=False,
        layout="constrained",
    )
    for axis in axes.flat[count:]:
        axis.set_visible(False)
    for axis in axes.flat:
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _finish(pyplot: Any, figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _save_panels(panels: list[Panel], path: Path) -> None:
    pyplot = _pyplot()
    figure, axes = _axes(pyplot, len(panels), 2.9, _PANEL_COLUMNS)
    for axis, panel in zip(axes.flat, panels, strict=False):
        for colour, (name, points) in zip(_COLOURS, panel.lines.items(), strict=False):
            x, y = zip(*points, strict=True)
            if panel.step:
                axis.plot(x, y, "o", markersize=4, color=colour, label=name)
                axis.plot(*_line(x, law(points)), linewidth=1, color=colour)
            else:
                axis.plot(x, y, color=colour, label=name)
        _label(axis, panel)
    _finish(pyplot, figure, path)


def _line(x: Sequence[float], found: Law) -> tuple[list[float], list[float]]:
    """Places between the first and the last x, and what the law says there."""
    first, last = min(x), max(x)
    step = (last - first) / (_LINE_PLACES - 1)
    places = [first + step * number for number in range(_LINE_PLACES)]
    return places, [found.at(place) for place in places]


def _label(axis: Any, panel: Panel) -> None:
    axis.set_title(panel.title, fontsize=10, loc="left")
    axis.set_xlabel(panel.x_label, fontsize=8)
    axis.set_ylabel(panel.y_label, fontsize=8)
    if panel.log_x:
        axis.set_xscale("log", base=2)
        ticks = [x for x, _ in next(iter(panel.lines.values()))]
        axis.set_xticks(ticks, [f"{each:,g}" for each in ticks])
    else:
        axis.locator_params(axis="x", nbins=8)
        axis.xaxis.set_major_formatter("{x:,.0f}")
    # Room for the legend above all points, wherever they are.
    axis.set_ylim(0, 1.25 * max(y for line in panel.lines.values() for _, y in line))
    axis.legend(fontsize=8, frameon=False, loc="upper left", ncols=len(panel.lines))


def _save_rates(rates: Rates, path: Path) -> None:
    """Medians as bars, one panel a load; a thin line spans the rounds."""
    pyplot = _pyplot()
    figure, axes = _axes(pyplot, len(rates), 2.6)
    for axis, (load, by_peer) in zip(
        axes.flat, results.medians(rates).items(), strict=False
    ):
        block = BY_NAME[load].block_bytes
        small = block < 1 << 16
        scale = 1000 if small else (1 << 20) / block
        names = list(by_peer)
        values = [by_peer[name] / scale for name in names]
        spread = [
            [by_peer[name] / scale - min(rates[load][name]) / scale for name in names],
            [max(rates[load][name]) / scale - by_peer[name] / scale for name in names],
        ]
        bars = axis.barh(
            names,
            values,
            color=_COLOURS[: len(names)],
            xerr=spread,
            error_kw={"elinewidth": 0.8, "capsize": 2, "ecolor": "#444444"},
        )
        axis.bar_label(bars, fmt="%.1f" if small else "%.0f", padding=3, fontsize=8)
        axis.set_title(load, fontsize=10, loc="left")
        axis.set_xlabel("thousand IOPS" if small else "MiB/s", fontsize=8)
        axis.margins(x=0.18)
        axis.invert_yaxis()
    for axis in axes[:, 1:].flat:
        axis.set_yticklabels([])
    _finish(pyplot, figure, path)
