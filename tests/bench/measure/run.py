"""What every benchmark gets."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.bench.report.settings import Settings


class Run(NamedTuple):
    """An empty folder, settings, and where to tell of progress."""

    folder: Path
    settings: Settings
    say: Callable[[str], None]

    @property
    def size(self) -> int:
        """Bytes of each image."""
        assert self.settings.size is not None
        return self.settings.size

    @property
    def seconds(self) -> float:
        """The length of each load."""
        assert self.settings.seconds is not None
        return self.settings.seconds

    @property
    def rounds(self) -> int:
        """How often each load is run."""
        assert self.settings.rounds is not None
        return self.settings.rounds
