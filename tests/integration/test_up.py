"""`blkcolo up`, what `make run` runs: start, stop, start again, and what goes wrong."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.nbd_client import NbdClient
from tests.stack import wait_until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration

#: Added to the default ports, so that a running `make run` is in nobody's way.
OFFSET = 20000


def up(folder: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "blkcolo_cli", "up"),
            *("--data", str(folder), "--port-offset", str(OFFSET), *options),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def until_protected(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    output = ""
    for line in process.stdout:
        output += line
        if "state=protected" in line:
            return output
    raise AssertionError(output)


def test_up_runs_stops_without_trace_and_runs_again_on_the_same_data(
    tmp_path: Path,
) -> None:
    options = ("--size", "1M", "--volumes", "2", "--secondary-vm")
    for content in (bytes(512), b"a" * 512):
        process = up(tmp_path, *options)
        try:
            output = until_protected(process)
            assert "nbd://127.0.0.1:30810/disk1" in output
            with NbdClient(30809, "disk1") as vm:
                assert vm.read(0, 512) == content
                vm.write(0, b"a" * 512)
            with NbdClient(30810, "disk1") as svm:
                svm.write(512, b"b")
        finally:
            process.send_signal(signal.SIGINT)
            rest, _ = process.communicate(timeout=40)
        assert process.returncode == 0, rest
        assert rest.rstrip().endswith("stopped")
        held = subprocess.run(
            ["pgrep", "-f", str(tmp_path)], capture_output=True, check=False
        )
        assert held.stdout == b""
    refused = up(tmp_path, "--size", "2M")
    output, _ = refused.communicate(timeout=30)
    assert refused.returncode == 1
    assert "same --size and --volumes" in output


def blkcolo(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "blkcolo_cli", *arguments],
        env={**os.environ, "BLKCOLO_COORDINATOR": "127.0.0.1:27400"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


def test_up_keeps_changed_roles_when_it_is_stopped_and_started_again(
    tmp_path: Path,
) -> None:
    contents = [b"first", b"again", b"after"]
    for number, content in enumerate(contents):
        process = up(tmp_path, "--size", "1M", "--secondary-vm")
        try:
            until_protected(process)
            if number == 0:
                with NbdClient(30809, "disk0") as vm:
                    vm.write(0, content)
                said = blkcolo("switchover")
                assert "given up: nothing" in said
                assert "the VM's disk is now nbd://127.0.0.1:30810/disk0" in said
                continue
            with NbdClient(30810, "disk0") as vm:
                assert vm.read(0, 5) == contents[number - 1]
                vm.write(0, content)
            status = blkcolo("status")
            assert "primary          127.0.0.1:27402 (configured as sec" in status
            if number == 2:
                blkcolo("failback")
                with NbdClient(30809, "disk0") as vm:
                    assert vm.read(0, 5) == content
        finally:
            process.send_signal(signal.SIGINT)
            rest, _ = process.communicate(timeout=40)
            assert process.returncode == 0, rest


def test_up_ends_with_the_log_of_a_service_that_dies(tmp_path: Path) -> None:
    process = up(tmp_path, "--size", "1M")
    until_protected(process)
    subprocess.run(
        ["pkill", "-KILL", "-f", f"{tmp_path}/secondary.toml"], check=True, timeout=10
    )
    output, _ = process.communicate(timeout=40)
    assert process.returncode == 1
    assert "secondary ended with code -9" in output


def ended(process: subprocess.Popen[str]) -> str:
    """The output of an `up` that must end by itself with a failure."""
    output, _ = process.communicate(timeout=40)
    assert process.returncode == 1, output
    assert "Traceback" not in output
    return output


def services_of(folder: Path) -> list[str]:
    found = subprocess.run(
        ["pgrep", "-af", f"{folder}/"], capture_output=True, text=True, check=False
    )
    return found.stdout.splitlines()


def test_second_up_on_one_folder_is_refused_and_disturbs_nobody(
    tmp_path: Path,
) -> None:
    process = up(tmp_path, "--size", "1M")
    try:
        until_protected(process)
        output = ended(up(tmp_path, "--size", "1M"))
        assert f"in use by process {process.pid}" in output
        assert "ready" not in output
        with NbdClient(OFFSET + 10809, "disk0") as vm:
            vm.write(0, b"a" * 512)
    finally:
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=40)
    assert process.returncode == 0, rest


def test_up_is_not_ready_because_another_process_answers_on_its_port(
    tmp_path: Path,
) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", OFFSET + 7401))
        other.listen()
        output = ended(up(tmp_path, "--size", "1M"))
    assert "primary ended with code 2" in output
    assert f"grpc.listen = '127.0.0.1:{OFFSET + 7401}': in use" in output
    assert '{"' not in output  # what is for people, not the whole log
    assert services_of(tmp_path) == []


def test_killed_up_takes_its_services_along_and_can_start_again(
    tmp_path: Path,
) -> None:
    process = up(tmp_path, "--size", "1M")
    until_protected(process)
    assert len(services_of(tmp_path)) == 3
    with NbdClient(OFFSET + 10809, "disk0") as vm:
        vm.write(0, b"a" * 512)
    process.kill()
    process.communicate(timeout=10)
    wait_until(lambda: not services_of(tmp_path), "the services have ended")
    process = up(tmp_path, "--size", "1M")
    try:
        until_protected(process)
        with NbdClient(OFFSET + 10809, "disk0") as vm:
            assert vm.read(0, 512) == b"a" * 512
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=40)
    assert process.returncode == 0
