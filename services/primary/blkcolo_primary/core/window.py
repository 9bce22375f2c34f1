"""How much may be in flight to the secondary: received and applied by nobody yet."""

from __future__ import annotations

import math
from typing import NamedTuple


class Window(NamedTuple):
    """A bound by bytes and by writes; it is full when either is reached.

    Bytes bound memory, and what a lost link loses. Writes bound time: a small one
    costs the secondary nearly as much as a large one, and a checkpoint waits for all
    that came before it (as DRBD bounds an epoch by `max-epoch-size`).
    """

    bytes: int
    writes: float = math.inf

    @property
    def half(self) -> Window:
        """What a comparison may fill: the rest is the VM's."""
        return Window(self.bytes // 2, self.writes / 2)
