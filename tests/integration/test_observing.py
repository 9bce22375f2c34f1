"""Events, explanations and the status page, as an operator meets them."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from typing import IO, TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from blkcolo.v1 import coordinator_pb2 as pb
from tests.stack import PROTECTED, UNPROTECTED, Stack, running, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("observing"), max_interval=0.1) as stack:
        yield stack


def blkcolo(stack: Stack, *arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "blkcolo_cli", *arguments],
        env={**os.environ, "BLKCOLO_COORDINATOR": stack.address("coordinator")},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout


def events(stack: Stack, after: int = 0, group: str = "") -> list[pb.Event]:
    request = pb.WatchEventsRequest(after_seq=after, group=group)
    parts = stack.coordinator.WatchEvents(request, timeout=10)
    return [event for part in parts for event in part.events]


def kinds(found: list[pb.Event]) -> list[str]:
    return [pb.EventKind.Name(e.kind).removeprefix("EVENT_KIND_") for e in found]


def test_events_say_each_change_once_in_order_and_go_on_after_restarts(
    stack: Stack,
) -> None:
    first = events(stack)
    assert [each.seq for each in first] == list(range(1, len(first) + 1))
    assert kinds(first)[0] == "CREATED"
    assert first[-1].after == "protected"
    stack.checkpoint()
    assert len(events(stack)) == len(first)

    watching = stack.coordinator.WatchEvents(
        pb.WatchEventsRequest(after_seq=first[-1].seq, follow=True), timeout=60
    )
    stack.kill("secondary")
    stack.wait_state(UNPROTECTED)
    gone: list[pb.Event] = []
    while "SECONDARY" not in kinds(gone) or gone[-1].after != "unprotected":
        gone += next(watching).events
    watching.cancel()
    assert kinds(gone).count("SECONDARY") == 1
    assert gone[-1].reason != 0

    stack.kill("coordinator")
    stack.start("secondary")
    stack.start("coordinator")
    stack.wait_state(PROTECTED)
    everything = events(stack)
    assert [each.seq for each in everything] == list(range(1, len(everything) + 1))
    assert everything[: len(first) + len(gone)] == first + gone
    later = everything[len(first) + len(gone) :]
    answered = [e.after for e in later if "SECONDARY" in kinds([e])]
    assert answered == ["reachable"]
    assert later[-1].after == "protected"


def test_events_are_lines_in_a_pipe_and_objects_as_json(stack: Stack) -> None:
    lines = blkcolo(stack, "events").splitlines()
    assert "created" in lines[0]
    assert "\x1b" not in lines[0]
    output = blkcolo(stack, "events", "vm1", "--json")
    objects = [json.loads(line) for line in output.splitlines()]
    assert objects[0]["kind"] == "created"
    assert {"seq", "reason", "message", "epoch", "generation", "from", "to"} <= set(
        objects[0]
    )
    last = objects[-1]["seq"]
    assert blkcolo(stack, "events", "--after", str(last)) == ""


@contextlib.contextmanager
def following(stack: Stack) -> Iterator[IO[str]]:
    """What `blkcolo events --follow` says."""
    with subprocess.Popen(
        [sys.executable, "-m", "blkcolo_cli", "events", "--follow", "--json"],
        env={**os.environ, "BLKCOLO_COORDINATOR": stack.address("coordinator")},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout
        finally:
            process.terminate()


def test_a_follower_finds_a_coordinator_that_comes_back_and_goes_on(
    stack: Stack,
) -> None:
    with following(stack) as output:
        seen: list[dict[str, Any]] = []

        def read_to(after: str) -> None:
            begin = len(seen)
            while len(seen) == begin or seen[-1]["to"] != after:
                seen.append(json.loads(output.readline()))

        stack.pause()
        read_to("paused")
        stack.stop("coordinator")
        stack.start("coordinator")
        stack.resume()
        read_to("resumed")
    assert [each["seq"] for each in seen] == list(range(1, len(seen) + 1))


def test_explain_says_what_is_met_and_what_mends_the_rest(stack: Stack) -> None:
    stack.wait_state(PROTECTED)
    text = blkcolo(stack, "explain", "vm1")
    assert "protect: possible" in text
    assert "  no  is failed over: the group is protected" in text
    assert "blkcolo " not in text  # there is nothing to mend
    answer = json.loads(blkcolo(stack, "explain", "--json"))
    possible = {verb["verb"]: verb["possible"] for verb in answer["verbs"]}
    assert possible == {
        "protect": True,
        "checkpoint": True,
        "failover": True,
        "reprotect": False,
        "switchover": True,
        "failback": False,
    }


def blocked(stack: Stack, verb: str, reason: str) -> float:
    labels = {"group": "vm1", "verb": verb, "reason": reason}
    (value,) = [
        sample.value
        for family in text_string_to_metric_families(stack.scrape("coordinator"))
        for sample in family.samples
        if family.name == "blkcolo_coordinator_blocked" and sample.labels == labels
    ]
    return value


def test_a_dead_primary_blocks_and_the_command_that_is_named_fails_over(
    stack: Stack,
) -> None:
    assert blocked(stack, "failover", "primary_can_be_fenced") == 0
    stack.kill("primary")
    wait_until(
        lambda: blocked(stack, "failover", "primary_can_be_fenced") == 1,
        "the dead primary blocks",
    )
    answer = stack.coordinator.Explain(pb.ExplainRequest(group="vm1"), timeout=5)
    failover = next(each for each in answer.verbs if each.verb == "failover")
    (unmet,) = [each for each in failover.conditions if not each.holds]
    assert unmet.command == "blkcolo failover vm1 --force"
    assert f"      {unmet.command}\n" in blkcolo(stack, "explain", "vm1")
    blkcolo(stack, *unmet.command.split()[1:])
    stack.wait_flushed()
    wait_until(lambda: "FLUSH_ENDED" in kinds(events(stack)), "the flush is told")
    states = [e.after for e in events(stack) if "STATE" in kinds([e])]
    assert states[-2:] == ["failing_over", "failed_over"]
