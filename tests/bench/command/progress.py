"""How far a benchmark is: one line that changes on a terminal; lines in a pipe."""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from rich.console import Console


def progress(
    name: str, console: Console
) -> AbstractContextManager[Callable[[str], None]]:
    """Where a benchmark of that name tells what it does."""
    if console.is_terminal:
        return _Status(name, console)
    return nullcontext(console.print)


class _Status:
    """What is measured now, and for how long."""

    def __init__(self, name: str, console: Console) -> None:
        self._name = name
        self._began = time.monotonic()
        self._status = console.status(name)

    def __enter__(self) -> Callable[[str], None]:
        self._status.start()
        return self._say

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def _say(self, text: str) -> None:
        elapsed = time.monotonic() - self._began
        self._status.update(f"{self._name}, {elapsed:.0f} s: {text}")
