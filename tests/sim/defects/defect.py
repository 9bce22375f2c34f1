"""What a deliberate defect is."""

from __future__ import annotations

from typing import NamedTuple


class Defect(NamedTuple):
    """A named patch of one module: `old` becomes `new`."""

    name: str
    module: str
    old: str
    new: str
