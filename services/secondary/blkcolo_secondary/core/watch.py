"""When a look at the secondary that waits is to be answered; as on the primary."""

from __future__ import annotations

from typing import NamedTuple


class ReplicaWatch(NamedTuple):
    """What the caller acts on; the group RECEIVES, or that is something to act on.

    Attributes:
        generation: it acts if another one is in force.
        buffer_bytes: or if the Disk Buffer holds so many; 0: no matter.
        written: or if the Secondary VM has written anything since the last checkpoint.
    """

    generation: int
    buffer_bytes: int = 0
    written: bool = False


class ReplicaNow(NamedTuple):
    """How the group is.

    Attributes:
        receiving: it is RECEIVING.
        generation: the newest known one.
        buffer_bytes: undo bytes in the Disk Buffer.
        overlay_bytes: bytes of the Secondary VM's writes in it.
    """

    receiving: bool
    generation: int
    buffer_bytes: int
    overlay_bytes: int


def due(watch: ReplicaWatch, now: ReplicaNow) -> bool:
    """True if there is something to act on."""
    return (
        not now.receiving
        or now.generation != watch.generation
        or 0 < watch.buffer_bytes <= now.buffer_bytes
        or (watch.written and now.overlay_bytes > 0)
    )
