"""How much would be lost if the primary died now, against what was promised.

The recovery point is the last moment whose content is safe (`recovery_point`). Its age
is what is lost in seconds (RPO), and what the VM wrote since is what is lost in bytes.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple

from blkcolo_coordinator.core.group_state import GroupState

if TYPE_CHECKING:
    from blkcolo.errors import Reason

#: From this share of the target on it is at risk.
_AT_RISK = 0.5


class Level(enum.StrEnum):
    """Whether the promise holds; also the metric's label."""

    #: There is no target, or nothing is to be replicated.
    NONE = "none"
    #: Less would be lost than was promised.
    MET = "met"
    #: Still less, but it grows: half of the target is used up, or nothing protects.
    AT_RISK = "at_risk"
    #: More would be lost than was promised.
    MISSED = "missed"


class ServiceLevel(NamedTuple):
    """The level, and one word why, as a metric's label."""

    level: Level
    reason: str


def assess(
    state: GroupState,
    age: float | None,
    target: float,
    *,
    paused: bool,
    failure: Reason | None,
) -> ServiceLevel:
    """Compares the age of the recovery point with the target.

    Args:
        state: the group's.
        age: seconds; None before the first checkpoint.
        target: seconds; 0: nothing was promised.
        paused: automatic checkpoints are suspended.
        failure: why the group is not protected, if that is known.
    """
    if state is GroupState.STOPPED or not target:
        word = "stopped" if state is GroupState.STOPPED else "no_target"
        return ServiceLevel(Level.NONE, word)
    reason = _reason(state, paused=paused, failure=failure)
    if age is None or age > target:
        return ServiceLevel(Level.MISSED, reason or "slow_checkpoints")
    if age > target * _AT_RISK or state is not GroupState.PROTECTED:
        return ServiceLevel(Level.AT_RISK, reason or "slow_checkpoints")
    return ServiceLevel(Level.MET, "ok")


def _reason(state: GroupState, *, paused: bool, failure: Reason | None) -> str:
    if state is not GroupState.PROTECTED:
        return failure.name.lower() if failure is not None else state.name.lower()
    return "paused" if paused else ""
