"""What a demoted primary tells its successor: where it ran ahead of a checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blkcolo.extents import coarsened
from blkcolo.stream import Ahead

if TYPE_CHECKING:
    from blkcolo.intent.log import IntentLog

#: Extents in one welcome; keeps it within 2 MiB.
_MOST_EXTENTS = 100_000


def ahead_of(intent: IntentLog) -> Ahead | None:
    """The marked extents, coarser where they are many; None: nobody knows."""
    if intent.base is None:
        return None
    dirty = intent.dirty()
    most = max(1, _MOST_EXTENTS // len(dirty))
    extents = tuple(
        tuple(coarsened(each, most, size))
        for each, size in zip(dirty, intent.sizes, strict=True)
    )
    return Ahead(intent.base.replica_id, extents)
