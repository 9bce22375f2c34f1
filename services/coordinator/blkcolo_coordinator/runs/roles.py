"""What a change of roles must know of both sides, and what it would cost."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from blkcolo.roles import Role


class Side(enum.IntEnum):
    """A side by its role in the status; the numbers are those of blkcolo.v1.Side."""

    PRIMARY = 1
    SECONDARY = 2

    @property
    def word(self) -> str:
        """As people name it."""
        return self.name.lower()


@dataclass(frozen=True)
class NodeView:
    """What a node says of a group.

    Attributes:
        address: where it is.
        role: the role that it plays.
        generation: the newest that it knows.
        size: bytes of all volumes.
        dirty: bytes in which it may differ from a checkpoint; None: not known.
        fenced: as a primary, it refuses VM writes.
        failed_over: as a secondary, it was failed over, or is about to be.
        flush_remaining: as a secondary, bytes that a flush has still to move.
        last_write_at: seconds since 1970; 0: not since its service started.
    """

    address: str
    role: Role
    generation: int
    size: int = 0
    dirty: int | None = None
    fenced: bool = False
    failed_over: bool = False
    flush_remaining: int = 0
    last_write_at: float = 0.0

    @property
    def at_most_dirty(self) -> int:
        """Bytes in which it differs from a checkpoint, at most."""
        return self.size if self.dirty is None else min(self.dirty, self.size)


class Cost(NamedTuple):
    """What a change of roles costs.

    Attributes:
        loser: the side whose writes are given up; None: none has any.
        address: the loser's.
        seconds: of its writes, at most.
        lost_bytes: of its writes, at most.
        compared_bytes: what the resync compares, at most.
    """

    loser: Side | None
    address: str
    seconds: float
    lost_bytes: int
    compared_bytes: int


def cost(
    old_primary: NodeView,
    survivor: NodeView,
    loser: Side,
    *,
    committed_at: float,
    failed_over_at: float,
    now: float,
    chosen: bool = False,
) -> Cost:
    """What a reprotect costs.

    Args:
        old_primary: the side that was the primary before the failover.
        survivor: the side that was failed over to.
        loser: the side that is given up.
        committed_at: when the checkpoint was committed that the failover led to.
        failed_over_at: when that was.
        now: seconds since 1970, all three.
        chosen: somebody chose that checkpoint: it may be an older one than the intent
            log of the old primary is relative to. What came between is what the
            failover undid, and the survivor's log has that.
    """
    both = old_primary.at_most_dirty + survivor.at_most_dirty
    compared = min(both, max(old_primary.size, survivor.size))
    if loser is Side.SECONDARY:
        side, ended, began = survivor, now, failed_over_at
    else:
        side, began = old_primary, committed_at
        ended = old_primary.last_write_at or failed_over_at
    lost = side.at_most_dirty
    if chosen and side is old_primary:
        lost = min(both, side.size)
    if not lost:
        return Cost(None, "", 0.0, 0, compared)
    return Cost(loser, side.address, max(ended - began, 0.0), lost, compared)
