"""No space left, anywhere: a clear reason, nothing lost or half done, and on it goes.

Each test fills one small file system, sees what the group says, frees the space, and
wants both sides equal again.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from blkcolo.v1 import types_pb2
from tests.nbd_client import NbdClient, NbdReplyError
from tests.stack import MIB, PROTECTED, Stack, running, wait_until
from tests.tools import missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.fault, pytest.mark.timeout(120)]

SIZE = 16 * MIB


class SmallDisk:
    """A file system of a few MiB, mounted on a folder."""

    def __init__(self, folder: Path, mebibytes: int) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", folder],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            missing(f"mounting a tmpfs is not allowed here: {done.stderr.strip()}")

    def fill(self) -> None:
        """Leaves no page free."""
        with (self.folder / "ballast").open("wb", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(bytes(4096))
            except OSError as error:
                assert error.errno == errno.ENOSPC  # noqa: PT017 - it ends so

    def free(self) -> None:
        """Gives back what `fill` took, or makes more room."""
        (self.folder / "ballast").unlink(missing_ok=True)
        subprocess.run(
            ["mount", "-o", "remount,size=64m", self.folder],
            check=True,
        )

    def close(self) -> None:
        """Unmounts it."""
        subprocess.run(["umount", "--lazy", self.folder], check=True)


@pytest.fixture
def small_disk() -> Iterator[Callable[[Path, int], SmallDisk]]:
    """Mounts a file system of so many MiB on a folder."""
    mounted: list[SmallDisk] = []

    def mount(folder: Path, mebibytes: int) -> SmallDisk:
        mounted.append(SmallDisk(folder, mebibytes))
        return mounted[-1]

    yield mount
    for disk in mounted:
        disk.close()


@pytest.fixture
def image_on_small_disk(
    tmp_path: Path, small_disk: Callable[[Path, int], SmallDisk]
) -> Callable[[str], SmallDisk]:
    """Puts the first image of a side on a file system of 4 MiB."""

    def place(side: str) -> SmallDisk:
        disk = small_disk(tmp_path / "images", 4)
        (tmp_path / f"{side}-disk0.img").symlink_to(disk.folder / "disk0")
        with (disk.folder / "disk0").open("wb") as image:
            image.truncate(SIZE)
        return disk

    return place


def wait_disk_full(stack: Stack) -> None:
    """Streams are tried again and again meanwhile, so the state may change."""
    wait_until(
        lambda: (
            (failure := stack.group().failure).reason == types_pb2.REASON_DISK_FULL
            and "No space left" in failure.message
            and "free space" in failure.message
        ),
        "the full disk is reported",
    )
    assert stack.group().state != PROTECTED


def assert_goes_on(stack: Stack, disk: SmallDisk) -> None:
    disk.free()
    stack.resume()
    stack.wait_state(PROTECTED)
    stack.checkpoint()
    assert stack.primary_status().protected
    assert stack.image("secondary").read_bytes() == stack.image("primary").read_bytes()


@pytest.mark.parametrize("fails_over", [False, True])
def test_full_disk_buffer_stops_the_stream_and_the_checkpoint_stands(
    tmp_path: Path, small_disk: Callable[[Path, int], SmallDisk], fails_over: bool
) -> None:
    disk = small_disk(tmp_path / "secondary", 3)
    with running(tmp_path, sizes=(SIZE,)) as stack:
        stack.pause()
        content = os.urandom(8 * MIB)
        with NbdClient(stack.nbd["primary"], "disk0") as vm:
            vm.write(MIB, content)
            epoch = stack.checkpoint()
            for offset in range(0, 8 * MIB, 512 << 10):
                vm.write(MIB + offset, bytes(512 << 10))  # the VM never notices
        wait_disk_full(stack)
        assert not stack.primary_status().protected
        with NbdClient(stack.nbd["secondary"], "disk0") as reader:
            assert reader.read(MIB, 8 * MIB) == content
        if not fails_over:
            assert_goes_on(stack, disk)
            return
        assert stack.failover().committed_epoch == epoch
        stack.wait_flushed()
        image = stack.image("secondary").read_bytes()
        assert image == bytes(MIB) + content + bytes(7 * MIB)


def test_full_secondary_image_stops_the_stream_and_the_checkpoint_stands(
    tmp_path: Path, image_on_small_disk: Callable[[str], SmallDisk]
) -> None:
    disk = image_on_small_disk("secondary")
    with running(tmp_path, sizes=(SIZE,)) as stack:
        content = os.urandom(2 * MIB)
        with NbdClient(stack.nbd["primary"], "disk0") as vm:
            vm.write(MIB, content)
            stack.checkpoint()
            vm.write(2 * MIB, os.urandom(6 * MIB))
        wait_disk_full(stack)
        wait_until(
            lambda: (
                (failure := stack.secondary_status().failure).volume == "disk0"
                and failure.errno == errno.ENOSPC
            ),
            "the secondary says where",
        )
        assert not stack.primary_status().protected
        with NbdClient(stack.nbd["secondary"], "disk0") as reader:
            assert reader.read(0, SIZE) == bytes(MIB) + content + bytes(13 * MIB)
        assert_goes_on(stack, disk)


def test_full_primary_image_fails_the_write_and_both_sides_stay_equal(
    tmp_path: Path, image_on_small_disk: Callable[[str], SmallDisk]
) -> None:
    disk = image_on_small_disk("primary")
    with running(tmp_path, sizes=(SIZE,)) as stack:
        with NbdClient(stack.nbd["primary"], "disk0") as vm:
            with pytest.raises(NbdReplyError) as refusal:
                vm.write(1000, os.urandom(6 * MIB))
            assert refusal.value.number == errno.ENOSPC
            vm.write(0, bytes(512))  # the connection and the group go on
        lines = [json.loads(line) for line in stack.log("primary").splitlines()]
        (told,) = [line for line in lines if line["event"] == "request failed"]
        assert (told["volume"], told["command"], told["offset"]) == (
            *("disk0", "WRITE", 1000),
        )
        assert "No space left" in told["error"]
        stack.checkpoint()
        assert stack.primary_status().protected
        ours = stack.image("primary").read_bytes()
        assert stack.image("secondary").read_bytes() == ours
        assert_goes_on(stack, disk)


def test_full_intent_log_fails_the_write_before_it_is_done(
    tmp_path: Path, small_disk: Callable[[Path, int], SmallDisk]
) -> None:
    """A write whose region cannot be marked must not happen."""
    disk = small_disk(tmp_path / "primary", 1)
    with running(tmp_path, sizes=(SIZE,)) as stack:
        with NbdClient(stack.nbd["primary"], "disk0") as vm:
            vm.write(0, b"a" * 4096)
            disk.fill()
            refused = None
            for at in reversed(range(0, SIZE, 65536)):  # none is marked ahead
                try:
                    vm.write(at, b"b" * 4096)
                except NbdReplyError as error:
                    refused = at, error.number
                    break
            assert refused is not None
            assert refused[1] == errno.ENOSPC
            assert vm.read(refused[0], 4096) == bytes(4096)
            vm.write(0, b"c" * 4096)  # its region is marked
        assert stack.failover().primary_fenced  # the fence has room of its own
        stack.kill("primary")
        stack.start("primary")
        assert stack.primary_status().state == types_pb2.FORWARD_STATE_FENCED


def test_full_disk_of_the_coordinator_is_told_and_forbids_no_failover(
    tmp_path: Path, small_disk: Callable[[Path, int], SmallDisk]
) -> None:
    disk = small_disk(tmp_path / "coordinator", 1)
    with running(tmp_path, sizes=(SIZE,), max_interval=0.01) as stack:
        disk.fill()
        with NbdClient(stack.nbd["primary"], "disk0") as vm:

            def told() -> bool:
                vm.write(0, b"a" * 4096)  # so that there is something to commit
                return stack.group().failure.reason == types_pb2.REASON_DISK_FULL

            wait_until(told, "the full disk is reported")
            vm.write(0, b"b" * 4096)
        assert stack.failover().primary_fenced  # its generation has room of its own
        disk.free()
        stack.kill("coordinator")
        stack.start("coordinator")
        stack.wait_state(types_pb2.GROUP_STATE_FAILED_OVER)
        assert stack.group().generation == 2


@pytest.mark.parametrize("durability", ["process", "host"])
def test_failover_works_although_not_a_page_is_free(
    tmp_path: Path, small_disk: Callable[[Path, int], SmallDisk], durability: str
) -> None:
    """Neither the intent log, nor the journal, nor a write to the view has room."""
    disk = small_disk(tmp_path / "secondary", 6)
    options = f'durability = "{durability}"\n'
    with running(tmp_path, sizes=(SIZE,), secondary_options=options) as stack:
        stack.pause()
        content = os.urandom(8 * MIB)
        with NbdClient(stack.nbd["primary"], "disk0") as vm:
            vm.write(MIB, content)
            epoch = stack.checkpoint()
            vm.write(MIB, bytes(MIB))
            disk.fill()
            vm.write(2 * MIB, bytes(4 * MIB))
        wait_disk_full(stack)
        disk.fill()
        assert stack.failover().committed_epoch == epoch
        with NbdClient(stack.nbd["secondary"], "disk0") as vm:
            vm.write(0, b"n" * 65536)
        stack.wait_flushed()
        image = stack.image("secondary").read_bytes()
        assert image == b"n" * 65536 + bytes(MIB - 65536) + content + bytes(7 * MIB)
