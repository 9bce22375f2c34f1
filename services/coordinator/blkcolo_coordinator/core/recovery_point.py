"""The last moment whose content is safe, on a clock that never jumps.

It is when the last checkpoint was committed, or as long after as nothing was written.
The record has the moment of the commit by the wall clock, which may be set back
meanwhile: an age taken of that would say that less would be lost than is. So a process
that saw the commit goes by its steady clock. One that was started since has the wall
clock alone for what was before it: at its start it takes the age that this says, 0
where it was set back behind the commit, and from there on its age only grows.
"""

from __future__ import annotations


class RecoveryPoint:
    """Of one group; `steady` is seconds on a clock that never jumps."""

    def __init__(self, committed_at: float, wall: float, steady: float) -> None:
        """Goes on from the record; as `moved`."""
        self.moved(committed_at, wall, steady)

    def moved(self, committed_at: float, wall: float, steady: float) -> None:
        """The record names another checkpoint.

        Args:
            committed_at: when it was committed, in seconds since 1970; 0: none is.
            wall: now, likewise.
            steady: now.
        """
        self._committed: float | None = None
        if committed_at:
            self._committed = steady - max(wall - committed_at, 0.0)
        self._safe = self._committed

    def nothing_written(self, steady: float) -> None:
        """What it held then is still all that there is."""
        if self._safe is not None:
            self._safe = max(self._safe, steady)

    def age(self, steady: float) -> float | None:
        """Seconds that would be lost; None before the first checkpoint."""
        return max(steady - self._safe, 0.0) if self._safe is not None else None

    def committed_age(self, steady: float) -> float | None:
        """Seconds since the commit; None before the first checkpoint."""
        committed = self._committed
        return max(steady - committed, 0.0) if committed is not None else None
