"""How a group is received: the options of the secondary's role."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from blkcolo.process.settings import ByteSize, Section


class HistorySettings(Section):
    """Which checkpoints are kept besides the last; the oldest go first."""

    keep: int = Field(0, ge=0, le=1000)
    """So many at most; 0 keeps none. Each costs the undo of what came after it."""
    max_age_seconds: float = Field(0.0, ge=0)
    """None that was committed longer ago; 0: whatever their age."""
    max_bytes: ByteSize = Field(0, ge=0)
    """So many undo bytes at most; 0: however many."""


class ReplicaSettings(Section):
    """A group in the secondary's role."""

    secondary_vm: bool = False
    """True where a Secondary VM runs on the view and writes to it (COLO)."""
    queue_bytes: ByteSize = Field(2 << 20, ge=1 << 20)
    """Bound of what is received and not yet applied; bounds memory."""
    durability: Literal["process", "host"] = "process"
    """What an answered checkpoint survives: the death of the service, or power loss,
    too (fdatasync of undo before data, of data before the commit)."""
    buffer_limit_bytes: ByteSize = Field(16 << 30, ge=0)
    """Undo bytes above the last checkpoint at which VM writes are held up, or the
    primary detaches (its on_congestion); 0: no limit."""
    history: HistorySettings = HistorySettings()
    """Which checkpoints are kept besides the last."""
