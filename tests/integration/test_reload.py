"""SIGHUP: the configuration read again by running services, as systemd asks them to."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.nbd_client import NbdClient
from tests.stack import Stack, running, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("reload")) as stack:
        yield stack


def events(stack: Stack, name: str, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in stack.log(name).splitlines()]
    return [line for line in lines if line["event"] == event]


def reload(stack: Stack, name: str, event: str) -> dict[str, Any]:
    """Sends SIGHUP; returns the line of the log that answers it."""
    before = len(events(stack, name, event))
    stack.processes[name].send_signal(signal.SIGHUP)
    wait_until(lambda: len(events(stack, name, event)) > before, f"{name}: {event}")
    return events(stack, name, event)[-1]


def edit(stack: Stack, name: str, old: str, new: str) -> None:
    path = stack.config(name)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_node_applies_the_log_level_and_names_what_needs_a_restart(
    stack: Stack,
) -> None:
    edit(stack, "primary", "nbd.listen", 'log.level = "debug"\nnbd.listen')
    edit(stack, "primary", 'name = "vm1"', 'name = "vm1"\nwindow_bytes = "8M"')
    told = reload(stack, "primary", "configuration reloaded")
    assert told["applied"] == ["log.level"]
    assert told["needs_restart"] == ["groups[vm1].window_bytes"]
    wait_until(lambda: '"level": "debug"' in stack.log("primary"), "debug lines")
    again = reload(stack, "primary", "configuration reloaded")
    assert (again["applied"], again["needs_restart"]) == ([], told["needs_restart"])


def test_coordinator_applies_policies_and_groups_without_a_restart(
    stack: Stack,
) -> None:
    edit(
        stack,
        "coordinator",
        "max_interval_seconds = 0.0",
        "max_interval_seconds = 0.05\nsent_bytes = 123",
    )
    with stack.config("coordinator").open("a") as config:
        config.write(
            '[[groups]]\nname = "vm2"\n'
            'primary = "127.0.0.1:1"\nsecondary = "127.0.0.1:2"\n'
        )
    committed = stack.group().committed_epoch
    told = reload(stack, "coordinator", "configuration reloaded")
    assert told["applied"] == [
        "groups[vm1].policy.max_interval_seconds",
        "groups[vm1].policy.sent_bytes",
        "groups[vm2]",
    ]
    assert told["needs_restart"] == []
    assert stack.group().spec.policy.sent_bytes == 123
    with NbdClient(stack.nbd["primary"], "disk0") as vm:
        vm.write(0, b"less than 123 bytes")
        wait_until(lambda: stack.group().committed_epoch > committed, "by interval")
    edit(stack, "coordinator", '"vm2"', '"vm3"')
    told = reload(stack, "coordinator", "configuration reloaded")
    assert told["applied"] == ["groups[vm2]", "groups[vm3]"]
    stays = events(stack, "coordinator", "not configured any more, stays until deleted")
    assert [line["group"] for line in stays] == ["vm2"]


@pytest.mark.parametrize("bad", ['log.level = "loud"\n', "no TOML", "nmae = 1\n"])
def test_bad_file_is_refused_as_at_the_start_and_the_old_options_stay(
    stack: Stack, bad: str
) -> None:
    path = stack.config("secondary")
    good = path.read_text()
    path.write_text(bad + good)
    try:
        told = reload(stack, "secondary", "not reloaded, the old options stay")
        started = subprocess.run(
            [sys.executable, "-m", "blkcolo_cli", "secondary", "--config", str(path)],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert started.returncode == 2
        assert started.stderr == f"blkcolo: {told['error']}\n"
        assert stack.secondary_status().group == "vm1"
    finally:
        path.write_text(good)


def test_supervisor_hears_of_reload_and_stop(tmp_path: Path) -> None:
    config = tmp_path / "coordinator.toml"
    config.write_text(
        f'data_dir = "{tmp_path / "data"}"\ngrpc.listen = "127.0.0.1:0"\n'
        'metrics.listen = "127.0.0.1:0"\n'
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.settimeout(30)
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "blkcolo_cli", "coordinator"),
                *("--config", str(config)),
            ],
            env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")},
            stderr=subprocess.DEVNULL,
        )
        try:
            assert heard.recv(100) == b"READY=1"
            process.send_signal(signal.SIGHUP)
            state, moment = heard.recv(100).decode().splitlines()
            assert state == "RELOADING=1"
            assert int(moment.removeprefix("MONOTONIC_USEC=")) > 0
            assert heard.recv(100) == b"READY=1"
            process.terminate()
            assert heard.recv(100) == b"STOPPING=1"
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.wait(10)
