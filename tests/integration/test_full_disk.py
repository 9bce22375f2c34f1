"""No space left, on either side: a clear error, and nothing is lost or half done."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from blkcolo.v1 import types_pb2
from tests.nbd_client import NbdClient, NbdReplyError
from tests.stack import MIB, PROTECTED, running, wait_until
from tests.tools import missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.fault]

_ENOSPC = 28


@pytest.fixture
def small_disk() -> Iterator[Callable[[Path, int], None]]:
    """Mounts a file system of so many MiB on a folder."""
    mounted: list[Path] = []

    def mount(folder: Path, mebibytes: int) -> None:
        folder.mkdir(parents=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", folder],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            missing(f"mounting a tmpfs is not allowed here: {done.stderr.strip()}")
        mounted.append(folder)

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_full_disk_buffer_stops_the_stream_and_failover_stays_exact(
    tmp_path: Path, small_disk: Callable[[Path, int], None]
) -> None:
    small_disk(tmp_path / "secondary", 3)
    with running(tmp_path, sizes=(16 * MIB,)) as stack:
        stack.pause()
        content = os.urandom(8 * MIB)
        with NbdClient(stack.nbd["primary"], "disk0") as vm:
            vm.write(MIB, content)
            epoch = stack.checkpoint()
            for offset in range(0, 8 * MIB, 512 << 10):
                vm.write(MIB + offset, bytes(512 << 10))  # the VM never notices
        wait_until(
            lambda: (
                (failure := stack.group().failure).reason == types_pb2.REASON_DISK_FULL
                and "free space" in failure.message
            ),
            "the full disk is reported",
        )
        assert stack.group().state != PROTECTED
        assert not stack.primary_status().protected
        with NbdClient(stack.nbd["secondary"], "disk0") as reader:
            assert reader.read(MIB, 8 * MIB) == content
        assert stack.failover().committed_epoch == epoch
        disk = stack.image("secondary").read_bytes()
        assert disk == bytes(MIB) + content + bytes(7 * MIB)


def test_full_primary_disk_fails_the_write_and_both_sides_stay_equal(
    tmp_path: Path, small_disk: Callable[[Path, int], None]
) -> None:
    small_disk(tmp_path / "images", 4)
    (tmp_path / "primary-disk0.img").symlink_to(tmp_path / "images" / "disk0")
    with (tmp_path / "images" / "disk0").open("wb") as image:
        image.truncate(16 * MIB)
    with running(tmp_path, sizes=(16 * MIB,)) as stack:
        with NbdClient(stack.nbd["primary"], "disk0") as vm:
            with pytest.raises(NbdReplyError) as refusal:
                vm.write(1000, os.urandom(6 * MIB))
            assert refusal.value.number == _ENOSPC
            vm.write(0, bytes(512))  # the connection and the group go on
        lines = [json.loads(line) for line in stack.log("primary").splitlines()]
        (told,) = [line for line in lines if line["event"] == "request failed"]
        assert (told["volume"], told["command"], told["offset"]) == (
            *("disk0", "WRITE", 1000),
        )
        assert "No space left" in told["error"]
        stack.checkpoint()
        assert stack.primary_status().protected
        assert (
            stack.image("secondary").read_bytes() == stack.image("primary").read_bytes()
        )
