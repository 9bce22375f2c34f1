"""Kept checkpoints: listed, read while replication runs, and failed over to."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import grpc
import pytest

from blkcolo.v1 import coordinator_pb2 as pb
from tests.nbd_client import NbdClient
from tests.stack import MIB, ODD_SIZE, PROTECTED, Stack, running, wait_until
from tests.tools import run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.nbd]

KEEP = "history.keep = 3\n"


def entries(stack: Stack) -> list[int]:
    request = pb.ListCheckpointsRequest(group="vm1")
    answer = stack.coordinator.ListCheckpoints(request, timeout=5)
    return [entry.epoch for entry in answer.checkpoints]


def write_and_checkpoint(stack: Stack, byte: int) -> tuple[int, bytes]:
    with NbdClient(stack.nbd["primary"], "disk0") as vm:
        vm.write(byte * 5000, bytes([byte]) * 70000)
    return stack.checkpoint(), stack.image("primary").read_bytes()


def test_kept_checkpoints_are_read_while_replication_runs(tmp_path: Path) -> None:
    with running(tmp_path, secondary_options=KEEP) as stack:
        taken = dict(write_and_checkpoint(stack, byte) for byte in range(1, 7))
        newest_first = sorted(taken, reverse=True)
        assert entries(stack) == newest_first[:4]
        for epoch in newest_first[:4]:
            with NbdClient(stack.nbd["secondary"], f"disk0@{epoch}") as reader:
                assert reader.read(0, ODD_SIZE) == taken[epoch], epoch
        port = stack.nbd["secondary"]
        uri = f"nbd://127.0.0.1:{port}/disk0@{newest_first[1]}"
        assert "data" in run("nbdinfo", "--map", uri)
        listed = run("nbdinfo", "--list", f"nbd://127.0.0.1:{port}")
        assert f"disk0@{newest_first[1]}" in listed
        assert f"disk0@{newest_first[4]}" not in listed


def test_checkpoint_that_is_being_read_is_not_pruned(tmp_path: Path) -> None:
    with running(tmp_path, secondary_options="history.keep = 1\n") as stack:
        first, content = write_and_checkpoint(stack, 1)
        write_and_checkpoint(stack, 2)
        with NbdClient(stack.nbd["secondary"], f"disk0@{first}") as reader:
            for byte in range(3, 7):
                write_and_checkpoint(stack, byte)
            assert first in entries(stack)
            assert reader.read(0, ODD_SIZE) == content

        def pruned() -> bool:
            stack.checkpoint()
            return len(entries(stack)) == 2

        wait_until(pruned, "the reader is gone, and the checkpoint with it")


@pytest.mark.parametrize("restart", [False, True])
def test_failover_leads_to_a_chosen_checkpoint(tmp_path: Path, restart: bool) -> None:
    with running(tmp_path, secondary_options=KEEP) as stack:
        taken = dict(write_and_checkpoint(stack, byte) for byte in range(1, 6))
        chosen = sorted(taken)[-3]
        if restart:
            stack.kill("secondary")
            stack.start("secondary")
            stack.wait_state(PROTECTED)
        with pytest.raises(grpc.RpcError) as refusal:
            stack.failover(epoch=min(taken))
        assert "does not hold checkpoint" in str(refusal.value)
        with NbdClient(stack.nbd["primary"], "disk0") as vm:
            vm.write(0, bytes(512))  # refused before anybody was fenced
        answer = stack.failover(epoch=chosen)
        assert answer.committed_epoch == chosen
        assert stack.failover(epoch=chosen).committed_epoch == chosen
        with pytest.raises(grpc.RpcError) as refusal:
            stack.failover(epoch=max(taken))  # that one is gone
        assert f"it holds {chosen};" in str(refusal.value)
        stack.wait_flushed()
        assert stack.image("secondary").read_bytes() == taken[chosen]


@pytest.mark.parametrize("buffered", [1024, 64 * MIB])
def test_export_is_writable_at_once_whatever_the_buffer_holds(
    tmp_path: Path, buffered: int
) -> None:
    with running(tmp_path, sizes=(64 * MIB,)) as stack:
        with NbdClient(stack.nbd["primary"], "disk0") as vm:
            for at in range(0, 64 * MIB, MIB):
                vm.write(at, bytes([at // MIB]) * MIB)
            stack.checkpoint()
            stack.pause()
            for at in range(0, buffered, MIB):
                vm.write(at, b"z" * min(MIB, buffered))
        wait_until(lambda: stack.primary_status().in_flight_bytes == 0, "applied")
        began = time.monotonic()
        stack.failover()
        with NbdClient(stack.nbd["secondary"], "disk0") as vm:
            vm.write(1000, b"new" * 300)
            seconds = time.monotonic() - began
            at_checkpoint = b"".join(bytes([n]) * MIB for n in range(64))
            expected = at_checkpoint[:1000] + b"new" * 300 + at_checkpoint[1900:]
            assert vm.read(0, 2 * MIB) == expected[: 2 * MIB]
        print(f"{buffered} bytes buffered: writable after {seconds * 1000:.0f} ms")  # noqa: T201 - for people
        stack.wait_flushed()
        assert stack.image("secondary").read_bytes() == expected
