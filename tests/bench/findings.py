"""What was measured beside a goal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import Console


class Finding(NamedTuple):
    """One figure; `goal` is an upper bound, or a lower one where `at_least`."""

    what: str
    reached: float
    unit: str
    goal: float | None = None
    at_least: bool = False

    @property
    def met(self) -> bool | None:
        """None where there is no goal."""
        if self.goal is None:
            return None
        return self.reached >= self.goal if self.at_least else self.reached <= self.goal


def show(findings: Sequence[Finding], console: Console) -> None:
    """Prints a table."""
    table = Table("what", "reached", "goal", "")
    for each in findings:
        sign = ">=" if each.at_least else "<="
        goal = "" if each.goal is None else f"{sign} {each.goal:g}"
        verdict = {None: "", True: "[green]met[/]", False: "[red]missed[/]"}[each.met]
        table.add_row(each.what, f"{each.reached:.3g} {each.unit}", goal, verdict)
    console.print(table)


def save(findings: Sequence[Finding], path: Path) -> None:
    """Writes JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = [{**each._asdict(), "met": each.met} for each in findings]
    path.write_text(json.dumps(content, indent=1) + "\n")
