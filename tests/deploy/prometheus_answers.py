"""What a Prometheus says of its targets and of the rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.stack import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    #: Asks it for a path, as /api/v1/targets, and returns what it answers.
    Ask = Callable[[str], Any]

JOBS = {"blkcolo-coordinator", "blkcolo-primary", "blkcolo-secondary"}


def wait_until_all_is_scraped(ask: Ask) -> None:
    """Every target is up, and every rule was evaluated without an error."""
    targets: list[Any] = []

    def up() -> bool:
        targets[:] = ask("/api/v1/targets")["data"]["activeTargets"]
        jobs = {each["labels"]["job"] for each in targets if each["health"] == "up"}
        return jobs == JOBS

    try:
        wait_until(up, "all three are scraped", 60)
    except AssertionError:
        print([(each["scrapeUrl"], each["lastError"]) for each in targets])  # noqa: T201 - the test's output
        raise
    wait_until(lambda: all(_rules_are_well(ask)), "all rules are evaluated", 60)


def _rules_are_well(ask: Ask) -> list[bool]:
    groups = ask("/api/v1/rules")["data"]["groups"]
    assert {each["name"] for each in groups} == {"blkcolo-recording", "blkcolo-alerts"}
    return [rule["health"] == "ok" for each in groups for rule in each["rules"]]
