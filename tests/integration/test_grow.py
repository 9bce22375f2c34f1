"""A volume grows while it replicates: both sides, the clients, and every checkpoint."""

from __future__ import annotations

import random
import subprocess
import sys
from typing import TYPE_CHECKING

import grpc
import pytest

from blkcolo.v1 import coordinator_pb2, secondary_pb2, types_pb2
from tests.nbd_client import NbdClient
from tests.stack import MIB, ODD_SIZE, PROTECTED, Stack, running, wait_until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration

#: Odd as well: the last block of the old size is a part of one of the new.
LARGER = 3 * MIB + 1536


def rng(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - test data


def grow(stack: Stack, volume: str, size: int) -> int:
    request = coordinator_pb2.GrowVolumeRequest(
        group="vm1", volume=volume, size_bytes=size
    )
    answer = stack.coordinator.GrowVolume(request, timeout=10)
    return int(answer.volume.size_bytes)


def assert_equal_images(stack: Stack) -> None:
    for number in range(len(stack.sizes)):
        ours = stack.image("primary", number).read_bytes()
        assert stack.image("secondary", number).read_bytes() == ours


def test_volume_grows_online_and_failover_leads_to_the_checkpoint_in_it(
    tmp_path: Path,
) -> None:
    options = "history.keep = 2\n"
    with running(
        tmp_path, sizes=(2 * MIB, ODD_SIZE), secondary_options=options
    ) as stack:
        old = rng(1).randbytes(8192)
        with NbdClient(stack.nbd["primary"], "disk1") as vm:
            vm.write(ODD_SIZE - 8192, old)
            kept = stack.checkpoint()
            vm.write(ODD_SIZE - 8192, rng(2).randbytes(8192))  # saves the cut block
            done = subprocess.run(
                [
                    *(sys.executable, "-m", "blkcolo_cli", "grow", "disk1"),
                    *(str(LARGER), "--coordinator", stack.address("coordinator")),
                ],
                capture_output=True,
                text=True,
                check=False,
                timeout=30,
            )
            assert done.returncode == 0, done.stderr
            assert f"disk1 has {LARGER} bytes" in done.stdout
        streams = stack.log("secondary").count("stream started")
        with NbdClient(stack.nbd["primary"], "disk1") as vm:
            assert vm.size == LARGER
            tail = rng(3).randbytes(LARGER - ODD_SIZE + 100)
            vm.write(ODD_SIZE - 100, tail)
            with NbdClient(stack.nbd["secondary"], "disk1") as view:
                assert view.size == LARGER
                # The tail of a checkpoint from before reads as zeros.
                seen = view.read(ODD_SIZE - 8192, 8192 + 4096)
                assert seen == old + bytes(4096)
            newer = stack.checkpoint()
            assert newer > kept
            vm.write(LARGER - 5000, bytes(5000))
        with NbdClient(stack.nbd["secondary"], f"disk1@{kept}") as view:
            assert view.read(ODD_SIZE - 8192, 9000) == old + bytes(808)
        assert stack.log("secondary").count("stream started") == streams
        stack.failover()
        stack.wait_flushed()
        content = stack.image("secondary", 1).read_bytes()
        assert len(content) == LARGER
        assert content[ODD_SIZE - 100 :] == tail


def test_grown_volume_stays_so_over_restarts_and_unequal_sizes_are_refused(
    tmp_path: Path,
) -> None:
    with running(tmp_path, sizes=(2 * MIB, ODD_SIZE)) as stack:
        assert grow(stack, "disk0", 4 * MIB) == 4 * MIB
        assert grow(stack, "disk0", 4 * MIB) == 4 * MIB  # answers the same again
        for name in ("primary", "secondary"):
            stack.kill(name)
            stack.start(name)
            stack.wait_state(PROTECTED)
        assert stack.primary_status().resync_plan != types_pb2.RESYNC_PLAN_FULL
        with NbdClient(stack.nbd["primary"], "disk0") as vm:
            assert vm.size == 4 * MIB
            vm.write(4 * MIB - 4096, b"t" * 4096)
        with pytest.raises(grpc.RpcError) as refusal:
            grow(stack, "disk0", 2 * MIB)
        assert "shrink" in str(refusal.value.details())
        with pytest.raises(grpc.RpcError) as refusal:
            grow(stack, "disk9", 2 * MIB)
        assert "disk0, disk1" in str(refusal.value.details())
        # A growth that was cut after its first half.
        request = secondary_pb2.SecondaryServiceGrowVolumeRequest(
            group="vm1", generation=1, volume="disk1", size_bytes=2 * MIB
        )
        stack.secondary.GrowVolume(request, timeout=5)
        stack.kill("primary")
        stack.start("primary")
        wait_until(
            lambda: stack.group().failure.reason == types_pb2.REASON_VOLUME_MISMATCH,
            "unequal sizes are refused",
        )
        message = stack.group().failure.message
        assert "disk1" in message
        assert "blkcolo grow" in message
        assert grow(stack, "disk1", 2 * MIB) == 2 * MIB
        stack.wait_state(PROTECTED)
        stack.checkpoint()
        assert_equal_images(stack)
