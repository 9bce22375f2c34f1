"""What the VM meets when the link is lost or slow, by the group's policy."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import grpc
import pytest

from blkcolo.v1 import coordinator_pb2, coordinator_pb2_grpc, types_pb2
from tests.nbd_client import NbdClient, NbdReplyError
from tests.stack import MIB, PROTECTED, running, wait_until
from tests.tools import run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.stack import Stack

pytestmark = [pytest.mark.integration, pytest.mark.fault]

_LOST = types_pb2.FORWARD_STATE_LOST


def wait_lost(stack: Stack) -> None:
    wait_until(lambda: stack.primary_status().state == _LOST, "the link is lost")


def test_frozen_write_is_answered_when_the_secondary_is_back(tmp_path: Path) -> None:
    with (
        running(tmp_path, primary_options='on_disconnect = "freeze"\n') as stack,
        ThreadPoolExecutor(1) as thread,
        NbdClient(stack.nbd["primary"], "disk0") as vm,
    ):
        stack.kill("secondary")
        wait_lost(stack)
        answer = thread.submit(vm.write, 0, b"f" * 4096)
        assert stack.primary_status().state == _LOST
        assert not answer.done()
        stack.start("secondary")
        answer.result(timeout=20)
        stack.wait_state(PROTECTED)
        stack.checkpoint()
        with NbdClient(stack.nbd["secondary"], "disk0") as view:
            assert view.read(0, 4096) == b"f" * 4096


def test_write_that_waits_is_refused_when_its_primary_is_fenced(
    tmp_path: Path,
) -> None:
    """Answered with success it would be a write that nobody has."""
    with (
        running(tmp_path, primary_options='ack_policy = "applied"\n') as stack,
        ThreadPoolExecutor(1) as thread,
        NbdClient(stack.nbd["primary"], "disk0") as vm,
    ):
        stack.processes["secondary"].send_signal(signal.SIGSTOP)
        try:
            answer = thread.submit(vm.write, 0, b"f" * 4096)
            wait_until(
                lambda: stack.primary_status().in_flight_bytes >= 4096,
                "the write is under way",
            )
            request = stack.fence_request(99)
            stack.primary.Fence(request, timeout=10)
            with pytest.raises(NbdReplyError) as refusal:
                answer.result(timeout=20)
            assert refusal.value.number == errno.EPERM
        finally:
            stack.processes["secondary"].send_signal(signal.SIGCONT)


def test_full_window_detaches_by_policy_and_the_vm_writes_on(tmp_path: Path) -> None:
    options = 'on_congestion = "detach"\nwindow_bytes = 1048576\n'
    with (
        running(tmp_path, sizes=(8 * MIB,), primary_options=options) as stack,
        NbdClient(stack.nbd["primary"], "disk0") as vm,
    ):
        stack.processes["secondary"].send_signal(signal.SIGSTOP)
        try:
            for at in range(0, 4 * MIB, 65536):
                vm.write(at, b"d" * 65536)
            status = stack.primary_status()
            assert status.state == _LOST
            assert status.failure.reason == types_pb2.REASON_CONGESTION
            assert status.unreplicated_bytes >= 3 * MIB
        finally:
            stack.processes["secondary"].send_signal(signal.SIGCONT)
        assert vm.read(4 * MIB - 65536, 65536) == b"d" * 65536


def test_services_listen_on_unix_sockets(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in ("primary", "secondary", "coordinator"):
        others = {n: f"unix:{tmp_path}/{n}.sock" for n in ("primary", "secondary")}
        text = (
            f'data_dir = "{data / name}"\n'
            f'grpc.listen = "unix:{tmp_path}/{name}.sock"\n'
            'metrics.listen = "127.0.0.1:0"\n'
        )
        if name == "coordinator":
            text += (
                '[[groups]]\nname = "vm1"\n'
                f'primary = "{others["primary"]}"\n'
                f'secondary = "{others["secondary"]}"\n'
            )
        else:
            text += (
                f'nbd.listen = "unix:{tmp_path}/{name}-nbd.sock"\n'
                '[[groups]]\nname = "vm1"\n[[groups.volumes]]\nname = "disk0"\n'
                f'path = "{tmp_path}/{name}.img"\nsize = {MIB}\n'
            )
        (tmp_path / f"{name}.toml").write_text(text)
    processes = [
        subprocess.Popen(
            [
                sys.executable,
                *("-m", "blkcolo_cli", name),
                *("--config", str(tmp_path / f"{name}.toml")),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ},
        )
        for name in ("secondary", "primary", "coordinator")
    ]
    try:
        with grpc.insecure_channel(f"unix:{tmp_path}/coordinator.sock") as channel:
            stub = coordinator_pb2_grpc.CoordinatorServiceStub(channel)
            request = coordinator_pb2.GetGroupRequest(group="vm1")

            def protected() -> bool:
                answer = stub.GetGroup(request, timeout=20, wait_for_ready=True)
                return bool(answer.group.state == PROTECTED)

            wait_until(protected, "it is protected over Unix sockets")
        uri = f"nbd+unix:///disk0?socket={tmp_path}/primary-nbd.sock"
        run("qemu-io", "-f", "raw", "-c", "write -P 5 0 64k", uri)
        assert (tmp_path / "primary.img").read_bytes()[:65536] == b"\5" * 65536
    finally:
        for process in processes:
            process.terminate()
        codes = [process.wait(15) for process in processes]
    assert codes == [0, 0, 0]
    assert not list(tmp_path.glob("*.sock")), "sockets are left behind"
