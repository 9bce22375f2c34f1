"""When to checkpoint: whatever comes first, and never too soon after the last."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from zlib import crc32


class Trigger(enum.StrEnum):
    """Why a checkpoint is taken; also the metric's label."""

    #: The group has just begun to replicate.
    START = "start"
    #: Somebody asked.
    CALL = "call"
    #: Enough bytes were sent.
    SENT_BYTES = "sent_bytes"
    #: The secondary's Disk Buffer is filling.
    BUFFER = "buffer"
    #: The last one is old, and something was written since.
    MAX_INTERVAL = "max_interval"
    #: Replication is about to be stopped.
    STOP = "stop"
    #: The roles are about to be swapped.
    SWITCHOVER = "switchover"


@dataclass(frozen=True)
class Policy:
    """Bytes and seconds; 0 switches a trigger off, but for `min_interval`.

    `rpo_target_seconds` is no trigger: it is what the metrics measure against.
    """

    sent_bytes: int = 64 << 20
    buffer_high_water_bytes: int = 256 << 20
    min_interval_seconds: float = 0.05
    max_interval_seconds: float = 1.0
    rpo_target_seconds: float = 5.0


@dataclass(frozen=True)
class Observation:
    """What is known of a group that replicates.

    Attributes:
        now: seconds on a clock that never jumps.
        last_at: the same, when the last checkpoint ended; None before the first.
        sent_bytes: sent since the last barrier.
        buffer_bytes: in the secondary's Disk Buffer.
        called: somebody asked for a checkpoint.
        unchanged: nothing was written since the last one; another would be the same.
        paused: automatic checkpoints are suspended.
        early: see `early`.
    """

    now: float
    last_at: float | None
    sent_bytes: int
    buffer_bytes: int
    called: bool
    unchanged: bool = False
    paused: bool = False
    early: float = 0.0


def decide(policy: Policy, seen: Observation) -> Trigger | None:
    """The reason for a checkpoint now, or None to wait."""
    if seen.last_at is None:
        return Trigger.START
    age = seen.now - seen.last_at
    if age < policy.min_interval_seconds:
        return None
    if seen.called:
        return Trigger.CALL
    if seen.paused:
        return None
    if 0 < policy.sent_bytes <= seen.sent_bytes:
        return Trigger.SENT_BYTES
    if 0 < policy.buffer_high_water_bytes <= seen.buffer_bytes:
        return Trigger.BUFFER
    if 0 < policy.max_interval_seconds <= age + seen.early and not seen.unchanged:
        return Trigger.MAX_INTERVAL
    return None


def early(policy: Policy, group: str, last_at: float) -> float:
    """How much sooner than `max_interval` the next checkpoint is due, in seconds.

    Groups that were due at once, as all are when the coordinator has begun, would be
    for ever. So each has its own moment within the interval, as its name says, and
    comes closer to it with every checkpoint, by an eighth of the interval at most.
    """
    interval = policy.max_interval_seconds
    if interval <= 0:
        return 0.0
    moment = interval * crc32(group.encode()) / (1 << 32)
    return min((last_at - moment) % interval, interval / 8)
