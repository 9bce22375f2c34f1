"""What the next look at a group waits for.

Looking costs both sides and the coordinator CPU, times the number of groups. So each
side is told what the coordinator acts on: it answers as soon as that is there, or when
the time is over in which nothing else can become due. The relation that holds, and that
a test checks: whatever the policy acts on within that time, one side answers at once.

A side that says nothing any more cannot tell that: the call's deadline does.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from blkcolo_coordinator.core.policy import Policy

#: Both sides are looked at so often in any case, in seconds: what people see of a group
#: that is written to is no older.
_LONGEST = 1.0
#: A group that nobody writes to is looked at so often, in seconds: its recovery point
#: is never older.
_LONGEST_QUIET = 2.0
#: It is looked at so often within its RPO target: before half of it has passed, which
#: counts as a risk.
_LOOKS_A_TARGET = 2.5
#: Two clocks may differ by so much over such a time, in seconds: what comes too early
#: has to be looked at once more.
_SLACK = 0.002


@dataclass(frozen=True)
class Known:
    """What is known of a group that is protected, right behind a look.

    Attributes:
        now: seconds on a clock that never jumps.
        last_at: the same, when the last checkpoint ended.
        generation: the one in force, on both sides.
        epoch: what VM writes belong to on the primary.
        unchanged: nothing was written since the last checkpoint.
        paused: automatic checkpoints are suspended.
        early: see `policy.early`.
    """

    now: float
    last_at: float
    generation: int
    epoch: int
    unchanged: bool = False
    paused: bool = False
    early: float = 0.0


@dataclass(frozen=True)
class WatchPlan:
    """What both sides are asked to wait for.

    Attributes:
        until: seconds on the clock of `Known`: they answer then at the latest.
        beat: they may be late by so much, in seconds.
        generation: they answer if another one is in force.
        epoch: the primary answers if VM writes belong to another one.
        sent_bytes: or if so many were sent since the last barrier; 0: no matter.
        buffer_bytes: the secondary answers if it holds so many; 0: no matter.
        written: either answers if anything was written since the last checkpoint.
    """

    until: float
    beat: float
    generation: int
    epoch: int
    sent_bytes: int = 0
    buffer_bytes: int = 0
    written: bool = False


def plan(policy: Policy, known: Known, interval: float) -> WatchPlan:
    """What the next look waits for.

    Args:
        policy: when a checkpoint is taken.
        known: of the group.
        interval: the time between two looks that do not wait, in seconds.
    """
    beat = interval / 2
    until = known.now + _longest(policy, unchanged=known.unchanged)
    sent_bytes, buffer_bytes, written = 0, 0, False
    if not known.paused:
        allowed_at = known.last_at + policy.min_interval_seconds
        if allowed_at > known.now + interval:
            until = min(until, allowed_at)
        else:
            sent_bytes = policy.sent_bytes
            buffer_bytes = policy.buffer_high_water_bytes
        if policy.max_interval_seconds > 0:
            due_at = known.last_at + policy.max_interval_seconds - known.early
            if due_at > known.now or not known.unchanged:
                until = min(until, due_at)
            else:
                written = True
    return WatchPlan(
        ceil((until + _SLACK) / beat) * beat,
        beat,
        known.generation,
        known.epoch,
        sent_bytes,
        buffer_bytes,
        written,
    )


def quiet_for(policy: Policy) -> float | None:
    """Seconds until a group that nobody writes to is looked at; None: no matter."""
    return (policy.rpo_target_seconds / _LOOKS_A_TARGET) or None


def _longest(policy: Policy, *, unchanged: bool) -> float:
    if not unchanged:
        return _LONGEST
    return min(_LONGEST_QUIET, quiet_for(policy) or _LONGEST_QUIET)
