"""How much may be in flight to the secondary: received and applied by nobody yet."""

from __future__ import annotations

import math
from typing import NamedTuple

#: A write of 4 KiB costs the secondary some 8 us: so many are applied within 10 ms.
_USUAL_WRITES = 1024


class Window(NamedTuple):
    """A bound by bytes and by writes; it is full when either is reached.

    Bytes bound memory, and what a lost link loses. Writes bound time: a small one
    costs the secondary nearly as much as a large one, and a checkpoint waits for all
    that came before it (as DRBD bounds an epoch by `max-epoch-size`).
    """

    bytes: int
    writes: float = math.inf

    @classmethod
    def chosen(cls, of_bytes: int, of_writes: int | None, *, throttles: bool) -> Window:
        """The window by the options of a group.

        Where a full one ends the protection instead of holding the VM up, a burst of
        small writes shall not fill it, unless a number of writes was asked for.
        """
        if of_writes is not None:
            return cls(of_bytes, of_writes)
        return cls(of_bytes, _USUAL_WRITES) if throttles else cls(of_bytes)

    @property
    def half(self) -> Window:
        """What a comparison may fill: the rest is the VM's."""
        return Window(self.bytes // 2, self.writes / 2)
