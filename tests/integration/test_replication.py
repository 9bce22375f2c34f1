"""Real processes, real clients, byte-exact: replicate, checkpoint, fail over."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import grpc
import pytest

from blkcolo.v1 import coordinator_pb2 as pb
from blkcolo.v1 import primary_pb2, types_pb2
from tests.nbd_client import NbdClient, NbdReplyError
from tests.stack import (
    MIB,
    ODD_SIZE,
    PROTECTED,
    UNPROTECTED,
    Stack,
    running,
    wait_until,
)
from tests.tools import require_tool, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.nbd]


def test_secondary_view_stays_at_checkpoint_and_failover_leads_to_it(
    tmp_path: Path,
) -> None:
    with running(tmp_path) as stack:
        vm, view = stack.uri("primary"), stack.uri("secondary")
        run("qemu-io", "-f", "raw", "-c", "write -P 7 0 1M", vm)
        run("qemu-io", "-f", "raw", "-c", "write -P 6 1052672 512", vm)
        epoch = stack.checkpoint()
        at_checkpoint = stack.image("primary").read_bytes()
        run("qemu-io", "-f", "raw", "-c", "write -P 9 512 300k", vm)
        run("qemu-io", "-f", "raw", "-c", "write -z 400k 100k", vm)
        run("qemu-io", "-f", "raw", "-c", "discard 600k 64k", vm)
        run("qemu-io", "-f", "raw", "-c", "write -P 9 1052672 512", vm)
        wait_until(
            lambda: stack.primary_status().in_flight_bytes == 0, "all is applied"
        )
        assert stack.image("secondary").read_bytes() != at_checkpoint
        run("qemu-io", "-r", "-f", "raw", "-c", "read -P 7 0 1M", view)
        run("qemu-io", "-r", "-f", "raw", "-c", "read -P 6 1052672 512", view)
        answer = stack.failover()
        assert (answer.committed_epoch, answer.primary_fenced) == (epoch, True)
        stack.wait_flushed()
        assert stack.image("secondary").read_bytes() == at_checkpoint
        with NbdClient(stack.nbd["primary"], "disk0") as old:
            with pytest.raises(NbdReplyError) as refusal:
                old.write(0, bytes(512))
            assert refusal.value.number == 1  # EPERM
        run("qemu-io", "-f", "raw", "-c", "write -P 5 0 4k", view)
        expected = b"\x05" * 4096 + at_checkpoint[4096:]
        assert stack.image("secondary").read_bytes() == expected


def fio(uri: str, *options: str) -> list[str]:
    return [
        require_tool("fio"),
        "--name=load",
        "--ioengine=nbd",
        f"--uri={uri}",
        "--iodepth=16",
        "--output-format=terse",
        *options,
    ]


def test_fio_runs_under_ten_checkpoints_a_second_and_failover_is_exact(
    tmp_path: Path,
) -> None:
    with running(tmp_path, sizes=(48 * MIB,), max_interval=0.1) as stack:
        load = fio(
            stack.uri("primary"),
            *("--rw=randwrite", "--bs=512-64k", "--blockalign=512", "--size=48m"),
            *("--verify=crc32c", "--verify_backlog=64", "--verify_fatal=1"),
            *("--time_based", "--runtime=120"),
        )
        before = stack.group().committed_epoch
        with subprocess.Popen(
            load, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as process:
            wait_until(
                lambda: stack.group().committed_epoch >= before + 40,
                "40 checkpoints under load",
                seconds=40,
            )
            assert process.poll() is None, "fio ended early"
            process.send_signal(signal.SIGINT)
            errors = process.communicate(timeout=30)[1]
            assert "verify:" not in errors, errors
        stack.pause()
        epoch = stack.checkpoint()
        at_checkpoint = stack.image("primary").read_bytes()
        with subprocess.Popen(load, stdout=subprocess.DEVNULL) as process:
            wait_until(
                lambda: stack.secondary_status().buffer_bytes > 8 * MIB,
                "the Disk Buffer fills",
            )
            answer = stack.failover()
            process.kill()
        assert answer.committed_epoch == epoch
        stack.wait_flushed()
        assert stack.image("secondary").read_bytes() == at_checkpoint


def test_writes_in_causal_order_stay_so_over_two_volumes(tmp_path: Path) -> None:
    """B on one volume is written only after A's reply on the other.

    Each write is known, so the failed-over disks must be, byte for byte, what some
    first part of the writes makes of empty ones.
    """
    written = 0
    for attempt in range(3):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        with running(folder, sizes=(ODD_SIZE, 2 * MIB), max_interval=0.02) as stack:
            writer = CausalWriter(stack)
            writer.start()
            try:
                wait_until(writer.is_well_on, "the writer gets on")
                stack.failover()
            finally:
                writer.stopped.set()
                writer.join(20)
            stack.wait_flushed()
            first, second = (stack.image("secondary", n).read_bytes() for n in (0, 1))
            a = int.from_bytes(first[8:16], "big")
            b = int.from_bytes(second[512:520], "big")
            assert 0 < b <= a <= b + 1
            assert first in (after_steps(a, a), after_steps(a, a + 1))
            assert second == bytes(512) + b.to_bytes(8, "big") + bytes(2 * MIB - 520)
            written += writer.count
    assert written > 4500


def after_steps(counted: int, slots: int) -> bytes:
    """disk0 when the counter says `counted` and so many slots were written."""
    disk = bytearray(ODD_SIZE)
    for number in range(max(1, slots - CausalWriter.SLOTS + 1), slots + 1):
        at = CausalWriter.slot(number)
        disk[at : at + 8] = number.to_bytes(8, "big")
    disk[8:16] = counted.to_bytes(8, "big")
    return bytes(disk)


class CausalWriter(threading.Thread):
    """Writes A on disk0 and, after its reply, B on disk1, until it is fenced."""

    SLOTS = 64

    @classmethod
    def slot(cls, number: int) -> int:
        """Where on disk0 step `number` leaves its number, before the counter."""
        return 4096 * (number % cls.SLOTS + 1)

    def __init__(self, stack: Stack) -> None:
        super().__init__()
        self.stopped = threading.Event()
        self.count = 0
        self._port = stack.nbd["primary"]

    def is_well_on(self) -> bool:
        return self.count > 1500

    def run(self) -> None:
        with (
            NbdClient(self._port, "disk0") as first,
            NbdClient(self._port, "disk1") as second,
            contextlib.suppress(NbdReplyError),
        ):
            while not self.stopped.is_set():
                step = self.count + 1
                number = step.to_bytes(8, "big")
                first.write(self.slot(step), number)
                first.write(8, number)
                second.write(512, number)
                self.count += 1


def test_secondary_vm_writes_to_the_overlay_until_the_next_checkpoint(
    tmp_path: Path,
) -> None:
    with running(tmp_path, secondary_vm=True) as stack:
        run("qemu-io", "-f", "raw", "-c", "write -P 1 0 64k", stack.uri("primary"))
        stack.checkpoint()
        disk = stack.image("secondary").read_bytes()
        view = stack.uri("secondary")
        run("qemu-io", "-f", "raw", "-c", "write -P 2 1000 5000", view)
        run("qemu-io", "-f", "raw", "-c", "read -P 1 0 1000", view)
        run("qemu-io", "-f", "raw", "-c", "read -P 2 1000 5000", view)
        run("qemu-io", "-f", "raw", "-c", "read -P 1 6000 4096", view)
        assert stack.image("secondary").read_bytes() == disk
        stack.checkpoint()
        run("qemu-io", "-f", "raw", "-c", "read -P 1 0 64k", view)
        run("qemu-io", "-f", "raw", "-c", "write -P 3 100 200", view)
        stack.failover()
        stack.wait_flushed()
        expected = disk[:100] + b"\x03" * 200 + disk[300:]
        assert stack.image("secondary").read_bytes() == expected


def test_lost_secondary_leaves_the_vm_writing_and_counts_what_is_unreplicated(
    tmp_path: Path,
) -> None:
    with running(tmp_path) as stack:
        stack.kill("secondary")
        stack.wait_state(UNPROTECTED)
        assert not stack.primary_status().protected
        run("qemu-io", "-f", "raw", "-c", "write -P 3 0 64k", stack.uri("primary"))
        assert stack.primary_status().unreplicated_bytes == 65536
        request = primary_pb2.PrimaryServicePrepareCheckpointRequest(
            group="vm1", generation=1, epoch=stack.primary_status().epoch
        )
        with pytest.raises(grpc.RpcError) as refusal:
            stack.primary.PrepareCheckpoint(request, timeout=5)
        assert refusal.value.code() == grpc.StatusCode.FAILED_PRECONDITION
        stack.start("secondary")
        stack.wait_state(PROTECTED)
        assert stack.primary_status().resent_bytes == 65536
        assert stack.image("secondary").read_bytes()[:65536] == b"\3" * 65536


def test_secondary_killed_while_idle_comes_back_protected(tmp_path: Path) -> None:
    with running(tmp_path) as stack:
        run("qemu-io", "-f", "raw", "-c", "write -P 3 0 64k", stack.uri("primary"))
        first = stack.checkpoint()
        stack.kill("secondary")
        stack.wait_state(UNPROTECTED)
        stack.start("secondary")
        stack.wait_state(PROTECTED)
        assert stack.checkpoint() > first
        view = stack.uri("secondary")
        run("qemu-io", "-r", "-f", "raw", "-c", "read -P 3 0 64k", view)


def test_all_services_stopped_and_started_go_on_where_they_were(
    tmp_path: Path,
) -> None:
    with running(tmp_path) as stack:
        run("qemu-io", "-f", "raw", "-c", "write -P 3 0 64k", stack.uri("primary"))
        first = stack.checkpoint()
        run("qemu-io", "-f", "raw", "-c", "write -P 4 0 32k", stack.uri("primary"))
        stack.stop()
        stack.start()
        stack.wait_state(PROTECTED)
        assert stack.group().committed_epoch > first
        view = stack.uri("secondary")
        run("qemu-io", "-r", "-f", "raw", "-c", "read -P 4 0 32k", view)


def test_coordinator_killed_and_restarted_keeps_generation_and_goes_on(
    tmp_path: Path,
) -> None:
    with running(tmp_path, max_interval=0.05) as stack:

        def write_and_wait(content: bytes) -> None:
            before = stack.secondary_status().committed_epoch
            with NbdClient(stack.nbd["primary"], "disk0") as vm:
                vm.write(0, content)
                wait_until(lambda: stack.group().committed_epoch > before, "it goes on")

        write_and_wait(b"1" * 4096)
        stack.kill("coordinator")
        stack.start("coordinator")
        write_and_wait(b"2" * 4096)
        assert stack.group().generation == 1
        assert stack.group().state == PROTECTED


def test_failover_needs_fence_or_force_and_an_old_primary_is_fenced_late(
    tmp_path: Path,
) -> None:
    with running(tmp_path) as stack:
        stack.kill("primary")
        stack.wait_state(UNPROTECTED)
        with pytest.raises(grpc.RpcError) as refusal:
            stack.failover()
        assert refusal.value.code() == grpc.StatusCode.FAILED_PRECONDITION
        assert "force" in str(refusal.value.details())
        answer = stack.failover(force=True)
        assert not answer.primary_fenced
        assert answer.generation > 1
        assert stack.failover().generation == answer.generation  # answers the same
        stack.start("primary")
        wait_until(
            lambda: stack.primary_status().state == types_pb2.FORWARD_STATE_FENCED,
            "the old primary is fenced",
        )


def test_stop_then_resume_replicates_again(tmp_path: Path) -> None:
    with running(tmp_path) as stack:
        run("qemu-io", "-f", "raw", "-c", "write -P 3 0 64k", stack.uri("primary"))
        request = pb.StopReplicationRequest(group="vm1")
        stopped = stack.coordinator.StopReplication(request, timeout=30).group
        assert stopped.state == types_pb2.GROUP_STATE_STOPPED
        assert (
            stack.image("secondary").read_bytes() == stack.image("primary").read_bytes()
        )
        with pytest.raises(grpc.RpcError) as refusal:
            stack.checkpoint()
        assert "resume" in str(refusal.value.details())
        before = stopped.committed_epoch
        stack.coordinator.ResumeReplication(
            pb.ResumeReplicationRequest(group="vm1"), timeout=5
        )
        stack.wait_state(PROTECTED)
        assert stack.group().committed_epoch > before


@pytest.mark.parametrize("policy", ["async", "received", "applied"])
def test_ack_policy_holds_a_reply_until_the_secondary_has_the_write(
    tmp_path: Path, policy: str
) -> None:
    options = f'ack_policy = "{policy}"\n'
    with running(tmp_path, primary_options=options) as stack:
        with NbdClient(stack.nbd["primary"], "disk0") as client:
            for number in range(50):
                data = os.urandom(4096)
                client.write(number * 8192 + 100, data, flags=number % 2)
                if policy == "applied":
                    disk = stack.image("secondary").read_bytes()
                    assert disk[number * 8192 + 100 :][:4096] == data
            client.flush()
        wait_until(
            lambda: stack.primary_status().in_flight_bytes == 0, "all is applied"
        )
        assert (
            stack.image("secondary").read_bytes() == stack.image("primary").read_bytes()
        )


def test_throttle_holds_the_vm_while_the_secondary_is_frozen(tmp_path: Path) -> None:
    options = 'window_bytes = "1M"\nlink_timeout_seconds = 2\n'
    with running(tmp_path, sizes=(16 * MIB,), primary_options=options) as stack:
        stack.pause()
        secondary = stack.processes["secondary"]
        secondary.send_signal(19)  # SIGSTOP
        began = time.monotonic()
        try:
            with NbdClient(stack.nbd["primary"], "disk0") as client:
                for number in range(12):
                    client.write(number * MIB, os.urandom(MIB))
        finally:
            secondary.send_signal(18)  # SIGCONT
        # Only the lost link let it go on; until then the window was full.
        assert time.monotonic() - began > 1.5
        status = stack.primary_status()
        assert not status.protected
        assert status.unreplicated_bytes >= 10 * MIB
