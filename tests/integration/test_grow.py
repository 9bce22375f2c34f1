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
from tests.tools import missing, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
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


class Device:
    """A block device over a file."""

    def __init__(self, backing: Path, size: int) -> None:
        self._backing = backing
        backing.write_bytes(bytes(size))
        found = subprocess.run(
            ["losetup", "--find", "--show", str(backing)],
            capture_output=True,
            text=True,
            check=False,
        )
        if found.returncode != 0:
            missing(f"loop devices are not allowed here: {found.stderr.strip()}")
        self.path = found.stdout.strip()

    def extend(self, content: bytes) -> None:
        """As `lvextend`: what the tail holds is anything."""
        with self._backing.open("ab") as backing:
            backing.write(content)
        run("losetup", "--set-capacity", self.path)

    def close(self) -> None:
        run("losetup", "--detach", self.path)


@pytest.fixture
def devices(tmp_path: Path) -> Iterator[Callable[[str], Device]]:
    """Puts a side's first volume on a block device of 2 MiB."""
    made: list[Device] = []

    def place(side: str) -> Device:
        made.append(Device(tmp_path / f"{side}.backing", 2 * MIB))
        (tmp_path / f"{side}-disk0.img").symlink_to(made[-1].path)
        return made[-1]

    yield place
    for device in made:
        device.close()


def test_block_device_grows_behind_its_operator_and_a_refusal_leaves_no_trace(
    tmp_path: Path, devices: Callable[[str], Device]
) -> None:
    sides = {side: devices(side) for side in ("primary", "secondary")}
    with running(tmp_path, sizes=(2 * MIB,)) as stack:
        content = rng(4).randbytes(MIB)
        with NbdClient(stack.nbd["primary"], "disk0") as vm:
            vm.write(4096, content)
        stack.checkpoint()
        with pytest.raises(grpc.RpcError) as refusal:
            grow(stack, "disk0", 3 * MIB)
        told = f"its device has {2 * MIB} bytes; extend it to {3 * MIB}"
        assert told in str(refusal.value.details())
        for name in ("secondary", "primary"):
            stack.kill(name)
            stack.start(name)  # with the old size, which is that of the device
            stack.wait_state(PROTECTED)
        for seed, device in enumerate(sides.values()):
            device.extend(rng(seed).randbytes(MIB))  # another tail on each side
        assert grow(stack, "disk0", 3 * MIB) == 3 * MIB
        stack.wait_state(PROTECTED)
        with NbdClient(stack.nbd["primary"], "disk0") as vm:
            assert vm.size == 3 * MIB
            vm.write(3 * MIB - 8192, content[:4096])
        stack.checkpoint()
        assert_equal_images(stack)
        stack.failover()
        stack.wait_flushed()
        assert_equal_images(stack)
        tail = stack.image("secondary").read_bytes()[2 * MIB :]
        expected = rng(0).randbytes(MIB)
        assert tail == expected[:-8192] + content[:4096] + expected[-4096:]
