"""What a benchmark found: figures beside their goals, grids of figures, plots."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

#: By load and peer, one a round: requests a second.
Rates = dict[str, dict[str, list[float]]]


class Finding(NamedTuple):
    """One figure.

    Attributes:
        what: its name.
        reached: its value.
        unit: of the value and the goal.
        goal: an upper bound, or a lower one where `at_least`.
        at_least: see `goal`.
        spread: smallest and largest of the rounds that `reached` is the median of, or
            of what it would be without each part of the run.
    """

    what: str
    reached: float
    unit: str
    goal: float | None = None
    at_least: bool = False
    spread: tuple[float, float] | None = None

    @property
    def met(self) -> bool | None:
        """None where there is no goal."""
        if self.goal is None:
            return None
        return self.reached >= self.goal if self.at_least else self.reached <= self.goal


class Grid(NamedTuple):
    """Figures of one unit by row and column."""

    title: str
    rows_are: str
    cells: dict[str, dict[str, float]]


class Panel(NamedTuple):
    """One plot: lines by name, each a list of (x, y).

    Attributes:
        title: what it shows.
        x_label: of the variable.
        y_label: the unit of all lines.
        lines: one a service.
        log_x: a doubling is a step.
        step: of x, by which a law of these points is told; 0 for none to be told.
        step_name: of it: "per 1,000 writes/s".
    """

    title: str
    x_label: str
    y_label: str
    lines: dict[str, list[tuple[float, float]]]
    log_x: bool = False
    step: float = 0
    step_name: str = ""


@dataclass(frozen=True)
class Found:
    """All of it; `checks` and `samples` are those of a comparison.

    A sample is one run of one load on one peer, the fields of `fio.Measured` by name.
    """

    findings: list[Finding] = field(default_factory=list)
    grids: list[Grid] = field(default_factory=list)
    panels: list[Panel] = field(default_factory=list)
    checks: dict[str, str] = field(default_factory=dict)
    samples: dict[str, dict[str, list[dict[str, float]]]] = field(default_factory=dict)

    @property
    def rates(self) -> Rates:
        """Requests a second of the samples."""
        return {
            load: {
                peer: [each["iops"] for each in runs] for peer, runs in peers.items()
            }
            for load, peers in self.samples.items()
        }
