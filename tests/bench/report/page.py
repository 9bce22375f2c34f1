"""The tables of docs/performance.md: what the JSON beside it says.

The page has a place for each benchmark, between two comments. `fill` writes there,
and a test holds both together: a figure cannot be changed in one alone.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.report import record, tables

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.bench.catalogue import Bench

_DOCS = Path(__file__).parents[3] / "docs"
PAGE = _DOCS / "performance.md"
RECORDS = _DOCS / "performance"
#: What a benchmark leaves for the docs: its record, and its plot.
KEPT = frozenset({".json", ".png"})
#: The place of the list of commands.
COMMANDS = "commands"
_PLACE = re.compile(r"(<!-- figures: (\S+) -->\n).*?(\n<!-- end -->)", re.DOTALL)


def filled(text: str, benches: Iterable[Bench], records: Path = RECORDS) -> str:
    """The page with every table as the records say.

    Raises:
        FileNotFoundError: a place has no record.
    """

    def place(match: re.Match[str]) -> str:
        before, name, after = match.groups()
        if name == COMMANDS:
            return f"{before}{_commands(benches)}{after}"
        return (
            f"{before}{tables.markdown(record.load(records / f'{name}.json'))}{after}"
        )

    return _PLACE.sub(place, text)


def places(text: str) -> list[str]:
    """The names of all places, in order."""
    return [name for _, name, _ in _PLACE.findall(text)]


def _commands(benches: Iterable[Bench]) -> str:
    lines = ["| Command, as for the figures here | What it measures |", "|---|---|"]
    lines += [f"| `{_command(each)}` | {each.what} |" for each in benches]
    return "\n".join(lines)


def _command(bench: Bench) -> str:
    asked = bench.settings.options().items()
    return " ".join(
        [f"make bench-{bench.name}", *(f"{name.upper()}={is_}" for name, is_ in asked)]
    )
