"""The recovery point against its target."""

from __future__ import annotations

import pytest

from blkcolo.errors import Reason
from blkcolo_coordinator.core.group_state import GroupState
from blkcolo_coordinator.core.service_level import Level, assess

_S = GroupState


@pytest.mark.parametrize(
    ("state", "age", "target", "paused", "failure", "level", "reason"),
    [
        (_S.PROTECTED, 0.5, 5.0, False, None, Level.MET, "ok"),
        (_S.PROTECTED, 3.0, 5.0, False, None, Level.AT_RISK, "slow_checkpoints"),
        (_S.PROTECTED, 3.0, 5.0, True, None, Level.AT_RISK, "paused"),
        (_S.PROTECTED, 6.0, 5.0, True, None, Level.MISSED, "paused"),
        (_S.PROTECTED, 6.0, 5.0, False, None, Level.MISSED, "slow_checkpoints"),
        (
            *(_S.UNPROTECTED, 1.0, 5.0, False, Reason.LINK_LOST),
            *(Level.AT_RISK, "link_lost"),
        ),
        (
            *(_S.UNPROTECTED, 9.0, 5.0, False, Reason.LINK_LOST),
            *(Level.MISSED, "link_lost"),
        ),
        (_S.STARTING, None, 5.0, False, None, Level.MISSED, "starting"),
        (_S.FAILED_OVER, 9.0, 5.0, False, None, Level.MISSED, "failed_over"),
        (_S.STOPPED, 9.0, 5.0, False, None, Level.NONE, "stopped"),
        (_S.PROTECTED, 9.0, 0.0, False, None, Level.NONE, "no_target"),
    ],
)
def test_level_and_reason(
    state: GroupState,
    age: float | None,
    target: float,
    paused: bool,
    failure: Reason | None,
    level: Level,
    reason: str,
) -> None:
    found = assess(state, age, target, paused=paused, failure=failure)
    assert (found.level, found.reason) == (level, reason)
