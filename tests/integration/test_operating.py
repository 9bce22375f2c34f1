"""The command line, logs, metrics and `up`, as an operator meets them."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
import urllib.request
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from blkcolo.v1 import types_pb2
from tests.nbd_client import NbdClient
from tests.stack import NAMES, PROTECTED, Stack, running, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("operating")
    with running(folder, secondary_vm=True) as stack:
        yield stack


def blkcolo(*arguments: str, coordinator: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "blkcolo_cli", *arguments],
        env={**os.environ, "BLKCOLO_COORDINATOR": coordinator},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def on_terminal(*arguments: str, coordinator: str, until: str) -> str:
    """Runs the command on a pseudo-terminal until its output has `until`."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(
            BLKCOLO_COORDINATOR=coordinator, TERM="xterm-256color", COLUMNS="120"
        )
        os.execv(  # noqa: S606 - in the child of a fork
            sys.executable, [sys.executable, "-m", "blkcolo_cli", *arguments]
        )
    output = b""
    deadline = time.monotonic() + 30
    try:
        while until.encode() not in output:
            assert time.monotonic() < deadline, output.decode()
            output += os.read(terminal, 65536)
    finally:
        os.kill(pid, signal.SIGINT)
        os.close(terminal)
        os.waitpid(pid, 0)
    return output.decode(errors="replace")  # may end within a character


def test_status_is_plain_in_a_pipe_coloured_on_a_terminal_and_json_on_request(
    stack: Stack,
) -> None:
    where = stack.address("coordinator")
    plain = blkcolo("status", coordinator=where)
    assert plain.returncode == 0
    assert "\x1b" not in plain.stdout
    assert "state            protected" in plain.stdout
    assert stack.uri("primary") in plain.stdout
    coloured = on_terminal("status", coordinator=where, until="╯")
    assert "\x1b[1;32mprotected" in coloured
    (group,) = json.loads(blkcolo("status", "--json", coordinator=where).stdout)
    assert group["state"] == "GROUP_STATE_PROTECTED"
    assert group["primary"]["unreplicated_bytes"] == "0"


def test_watch_shows_groups_until_interrupted(stack: Stack) -> None:
    where = stack.address("coordinator")
    assert "protected" in on_terminal(
        "status", "--watch", coordinator=where, until="secondary disk"
    )


def test_watch_in_a_pipe_ends_quietly_on_interrupt(stack: Stack) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "blkcolo_cli", "status", "--watch"],
        env={**os.environ, "BLKCOLO_COORDINATOR": stack.address("coordinator")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("vm1 state=protected ")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")


def test_watch_waits_for_a_coordinator_that_restarts(stack: Stack) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "blkcolo_cli", "status", "--watch", "--json"],
        env={**os.environ, "BLKCOLO_COORDINATOR": stack.address("coordinator")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert json.loads(process.stdout.readline())["spec"]["name"] == "vm1"
    stack.kill("coordinator")
    assert process.stderr.readline().endswith("does not answer; waiting for it\n")
    stack.start("coordinator")
    stack.wait_state(PROTECTED)
    while json.loads(process.stdout.readline())["state"] != "GROUP_STATE_PROTECTED":
        pass
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")


def test_commands_do_and_say_what_they_did(stack: Stack) -> None:
    where = stack.address("coordinator")
    before = stack.group().committed_epoch
    assert "committed in" in blkcolo("checkpoint", coordinator=where).stdout
    assert stack.group().committed_epoch > before
    answer = json.loads(blkcolo("checkpoint", "--json", coordinator=where).stdout)
    assert int(answer["epoch"]) == stack.group().committed_epoch
    assert "vm1 state=protected" in blkcolo("groups", coordinator=where).stdout
    assert json.loads(blkcolo("groups", "--json", coordinator=where).stdout)
    assert "vm1" in on_terminal("groups", coordinator=where, until="└")
    listed = blkcolo("checkpoints", coordinator=where).stdout
    assert int(listed.split()[0]) == stack.group().committed_epoch
    assert "protected" in blkcolo("pause", coordinator=where).stdout
    assert stack.group().paused
    assert "protected" in blkcolo("resume", "vm1", coordinator=where).stdout
    assert not stack.group().paused


def test_a_coordinator_that_restarts_takes_no_checkpoint_of_a_paused_group(
    stack: Stack,
) -> None:
    stack.wait_state(PROTECTED)
    stack.pause()
    before = stack.group().committed_epoch
    stack.kill("coordinator")
    stack.start("coordinator")
    assert stack.take_checkpoint() == before + 1
    group = stack.group()
    assert (group.state, group.paused, group.last_trigger) == (
        PROTECTED,
        True,
        "call",
    )
    stack.resume()


def test_errors_have_the_documented_exit_codes_and_a_next_step() -> None:
    gone = blkcolo("status", coordinator="127.0.0.1:1")
    assert gone.returncode == 3
    assert "check that it runs" in gone.stderr
    assert "Traceback" not in gone.stderr
    for wrong in (["status", "--no-such"], ["no-such"], ["primary", "--config", "/x"]):
        done = blkcolo(*wrong)
        assert done.returncode == 2, (wrong, done)
        assert "Traceback" not in done.stderr
    nowhere = blkcolo("status", "--coordinator", "nowhere")
    assert nowhere.returncode == 2
    assert "HOST:PORT" in nowhere.stderr
    assert blkcolo("--version").stdout == f"{version('blkcolo')}\n"
    shown = blkcolo("--help")
    assert shown.returncode == 0
    assert "╭" not in shown.stdout  # plain in a pipe


def test_service_that_is_no_coordinator_is_told_from_one_that_is_gone(
    stack: Stack,
) -> None:
    done = blkcolo("status", coordinator=stack.address("primary"))
    assert done.returncode == 1
    assert "another service" in done.stderr


def test_unknown_group_fails_with_the_known_ones(stack: Stack) -> None:
    done = blkcolo("checkpoint", "vm9", coordinator=stack.address("coordinator"))
    assert done.returncode == 1
    assert "vm1" in done.stderr


def test_show_config_prints_what_is_in_force_environment_first(stack: Stack) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "blkcolo_cli", "primary"),
            *("--config", str(stack.config("primary")), "--show-config"),
        ],
        env={**os.environ, "BLKCOLO_PRIMARY_LOG__LEVEL": "debug"},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    shown = json.loads(done.stdout)
    assert shown["log"]["level"] == "debug"
    assert shown["grpc"]["listen"] == stack.address("primary")
    assert shown["groups"][0]["window_bytes"] == 32 << 20


def scrape(stack: Stack, name: str) -> dict[str, float]:
    """The samples of one service without labels but group."""
    url = f"http://127.0.0.1:{stack.metrics[name]}/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        text = answer.read().decode()
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_of_all_services_agree_with_their_status(stack: Stack) -> None:
    with NbdClient(stack.nbd["primary"], "disk0") as vm:
        vm.write(0, bytes(8192))
    with NbdClient(stack.nbd["secondary"], "disk0") as svm:
        svm.write(4096, b"x")
    wait_until(lambda: stack.primary_status().in_flight_bytes == 0, "all is applied")
    primary, secondary = scrape(stack, "primary"), scrape(stack, "secondary")
    status = stack.primary_status()
    assert primary["blkcolo_primary_sent_bytes_total"] == status.sent_bytes >= 8192
    assert primary["blkcolo_primary_acked_bytes_total"] == status.acked_bytes
    assert primary["blkcolo_primary_unreplicated_bytes_total"] == 0
    assert primary["blkcolo_primary_protected"] == 1
    assert primary["blkcolo_primary_committed_epoch"] == status.committed_epoch
    assert secondary["blkcolo_secondary_overlay_bytes"] == 4096
    assert secondary["blkcolo_secondary_buffer_bytes"] > 0
    coordinator = scrape(stack, "coordinator")
    assert coordinator["blkcolo_coordinator_protected"] == 1
    assert coordinator["blkcolo_coordinator_checkpoint_seconds_count"] > 0
    assert coordinator["blkcolo_build_info"] == 1


def test_docs_have_every_metric_as_it_is_exposed(stack: Stack) -> None:
    """A row of docs/metrics.md: name, type, unit, labels, meaning."""
    stack.checkpoint()
    docs = Path(__file__).parents[2] / "docs" / "metrics.md"
    rows = re.findall(
        r"^\| `(\w+)` \| (\w+) \| (\w*) \| ([\w, ]*) \| (.*) \|$",
        docs.read_text(),
        re.MULTILINE,
    )
    documented = {row[0]: (row[1], row[3], row[4]) for row in rows}
    exposed = _exposed(stack, documented)
    assert documented == exposed
    assert [row[0] for row in rows if row[2] not in _units(row[0])] == []
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    named = set(
        re.findall(r"`(blkcolo_(?:coordinator|primary|secondary)_\w+)`", readme)
    )
    assert named <= set(documented)


def _exposed(
    stack: Stack, documented: dict[str, tuple[str, str, str]]
) -> dict[str, tuple[str, str, str]]:
    """Type, labels and help; where there is no sample the documented labels hold."""
    found: dict[str, tuple[str, str, str]] = {}
    for service in NAMES:
        for family in text_string_to_metric_families(stack.scrape(service)):
            name = family.name + ("_total" if family.type == "counter" else "")
            labels = sorted({key for s in family.samples for key in s.labels} - {"le"})
            if not labels and name in found:
                continue
            text = ", ".join(labels) or documented.get(name, ("", "", ""))[1]
            found[name] = (family.type, text, family.documentation)
    return found


def _units(name: str) -> tuple[str, ...]:
    """The unit that a name ends with."""
    unit = re.search(r"_(bytes_per_second|bytes|seconds)(_total)?$", name)
    return (unit[1],) if unit else ("",)


def test_logs_are_json_with_group_epoch_and_generation(stack: Stack) -> None:
    lines = [json.loads(line) for line in stack.log("secondary").splitlines()]
    started = next(line for line in lines if line["event"] == "stream started")
    assert started["group"] == "vm1"
    assert started["epoch"] == 0
    assert started["generation"] == 1
    assert started["service"] == "secondary"


def test_group_is_created_updated_and_deleted_by_calls(stack: Stack) -> None:
    from blkcolo.v1 import coordinator_pb2 as pb  # noqa: PLC0415 - only here

    service = stack.coordinator
    spec = pb.GroupSpec(
        name="other", primary_address="127.0.0.1:1", secondary_address="127.0.0.1:2"
    )
    service.CreateGroup(pb.CreateGroupRequest(spec=spec), timeout=5)
    names = [g.spec.name for g in service.ListGroups(pb.ListGroupsRequest()).groups]
    assert names == ["other", "vm1"]
    policy = pb.CheckpointPolicy(max_interval_seconds=5)
    request = pb.UpdateGroupRequest(group="other", policy=policy)
    updated = service.UpdateGroup(request, timeout=5).group
    assert updated.spec.policy.max_interval_seconds == 5
    wait_until(
        lambda: (
            service.GetGroup(pb.GetGroupRequest(group="other")).group.failure.reason
            == types_pb2.REASON_PEER_UNREACHABLE
        ),
        "the missing peers are reported",
    )
    watch = service.WatchGroups(pb.WatchGroupsRequest(interval_seconds=0.1), timeout=10)
    assert len(next(watch).groups) == 2
    watch.cancel()
    service.DeleteGroup(pb.DeleteGroupRequest(group="other"), timeout=5)
    names = [g.spec.name for g in service.ListGroups(pb.ListGroupsRequest()).groups]
    assert names == ["vm1"]
