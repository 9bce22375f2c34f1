"""Groups that were due at once come apart, and none waits longer than its interval."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from blkcolo_coordinator.core.policy import Observation, Policy, Trigger, decide, early

_GROUPS = 200


@given(
    interval=st.floats(0.05, 600),
    last_at=st.floats(0, 1e6),
    group=st.text(min_size=1, max_size=20),
)
def test_a_checkpoint_is_early_by_an_eighth_of_its_interval_at_most(
    interval: float, last_at: float, group: str
) -> None:
    policy = Policy(max_interval_seconds=interval)
    assert 0 <= early(policy, group, last_at) <= interval / 8


def test_without_an_interval_nothing_is_early() -> None:
    assert early(Policy(max_interval_seconds=0), "vm1", 5.0) == 0


def test_groups_that_begin_together_are_spread_over_the_interval_and_stay_so() -> None:
    policy, moments = Policy(max_interval_seconds=1.0), Counter[int]()
    for number in range(_GROUPS):
        group, at = f"vm{number}", 100.0
        for _ in range(10):  # an eighth each: eight are enough
            at += 1 - early(policy, group, at)
        assert early(policy, group, at + 0.01) < 0.02, "it has found its moment"
        moments[int(at % 1 * 10)] += 1
    assert len(moments) == 10
    assert max(moments.values()) < 2 * _GROUPS / 10


def test_what_is_early_is_due_then_and_not_before() -> None:
    policy = Policy(max_interval_seconds=1.0)

    def decided(now: float) -> Trigger | None:
        seen = Observation(now, 10.0, 0, 0, called=False, early=0.125)
        return decide(policy, seen)

    assert decided(10.87) is None
    assert decided(10.875) is Trigger.MAX_INTERVAL
