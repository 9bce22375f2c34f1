"""EIO from either side's disk: a clear error, and everything goes on afterwards."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from blkcolo.v1 import types_pb2
from tests.fault.failing_disk import FailingDisk, failing_disk
from tests.nbd_client import NbdClient, NbdReplyError
from tests.stack import MIB, PROTECTED, Stack, running, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.fault, pytest.mark.integration]

SIZE = 4 * MIB


@pytest.fixture
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FailingDisk]:
    """The first volume's disk of the side that the test asks for."""
    with failing_disk(tmp_path / f"{request.param}-disk0.img", SIZE) as disk:
        yield disk


on_primary = pytest.mark.parametrize("disk", ["primary"], indirect=True)
on_secondary = pytest.mark.parametrize("disk", ["secondary"], indirect=True)


def assert_sides_equal(stack: Stack, disk: FailingDisk, side: str) -> None:
    stack.checkpoint()
    assert stack.image(side).read_bytes() == disk.content.read_bytes()


@on_primary
def test_error_of_the_primary_disk_reaches_the_client_and_nobody_else(
    tmp_path: Path, disk: FailingDisk
) -> None:
    with (
        running(tmp_path, sizes=(SIZE,)) as stack,
        NbdClient(stack.nbd["primary"], "disk0") as vm,
    ):
        vm.write(0, os.urandom(MIB))
        disk.fail("writes")
        with pytest.raises(NbdReplyError) as refusal:
            vm.write(1000, b"w" * 9000)
        assert refusal.value.number == errno.EIO
        with pytest.raises(NbdReplyError) as refusal:
            vm.request(6, 4096, 8192)  # a zero
        assert refusal.value.number == errno.EIO
        assert stack.primary_status().protected
        disk.heal()
        disk.fail("reads")
        with pytest.raises(NbdReplyError) as refusal:
            vm.read(2 * MIB, 4096)
        assert refusal.value.number == errno.EIO
        assert stack.group().state == PROTECTED
        disk.heal()
        vm.write(0, b"later")
        assert vm.read(0, 5) == b"later"
        assert_sides_equal(stack, disk, "secondary")


@on_primary
def test_failed_write_that_cannot_be_read_back_costs_a_resync(
    tmp_path: Path, disk: FailingDisk
) -> None:
    with (
        running(tmp_path, sizes=(SIZE,)) as stack,
        NbdClient(stack.nbd["primary"], "disk0") as vm,
    ):
        vm.write(0, os.urandom(MIB))
        disk.fail("reads", "writes")
        with pytest.raises(NbdReplyError) as refusal:
            vm.write(1000, b"w" * 9000)
        assert refusal.value.number == errno.EIO
        wait_until(
            lambda: (
                (failure := stack.group().failure).reason == types_pb2.REASON_DISK_ERROR
                and failure.errno == errno.EIO
            ),
            "the disk error is reported",
        )
        assert not stack.primary_status().protected
        disk.heal()
        stack.wait_state(PROTECTED)
        assert_sides_equal(stack, disk, "secondary")


@on_secondary
@pytest.mark.parametrize("what", ["reads", "writes"])
def test_error_of_the_secondary_disk_faults_the_stream_until_it_heals(
    tmp_path: Path, disk: FailingDisk, what: str
) -> None:
    """Reads fail where old content is saved, writes where the new one is written."""
    with (
        running(tmp_path, sizes=(SIZE,)) as stack,
        NbdClient(stack.nbd["primary"], "disk0") as vm,
    ):
        content = os.urandom(MIB)
        vm.write(MIB, content)
        epoch = stack.checkpoint()
        disk.fail(what)
        vm.write(MIB + 8192, b"x" * 4096)
        place = f"of disk0 at {MIB + 8192} failed: Input/output error"
        wait_until(lambda: place in stack.log("secondary"), "the write has failed")

        def faulted() -> bool:  # and again with each stream that is tried meanwhile
            status = stack.secondary_status()
            faulted = status.state == types_pb2.REPLICA_STATE_FAULTED
            failure = status.failure
            return faulted and (failure.volume, failure.errno) == ("disk0", errno.EIO)

        wait_until(faulted, "the secondary says where and why")
        assert not stack.primary_status().protected
        wait_until(lambda: stack.group().state != PROTECTED, "it is told")
        disk.heal()
        assert stack.secondary_status().committed_epoch >= epoch
        stack.wait_state(PROTECTED)
        assert_sides_equal(stack, disk, "primary")


@on_secondary
@pytest.mark.parametrize("killed", [False, True])
def test_error_in_a_flush_pauses_it_until_the_next_call(
    tmp_path: Path, disk: FailingDisk, killed: bool
) -> None:
    with running(tmp_path, sizes=(SIZE,)) as stack:
        stack.pause()
        expected = bytearray(os.urandom(SIZE))
        with NbdClient(stack.nbd["primary"], "disk0") as vm:
            for at in range(0, SIZE, MIB):
                vm.write(at, bytes(expected[at : at + MIB]))
            epoch = stack.checkpoint()
            vm.write(MIB, os.urandom(2 * MIB))
        wait_until(lambda: stack.primary_status().in_flight_bytes == 0, "applied")
        disk.fail("writes")
        assert stack.failover().committed_epoch == epoch
        wait_paused(stack)
        wait_until(lambda: stack.group().HasField("failure"), "the group says why")
        shown = subprocess.run(
            [sys.executable, "-m", "blkcolo_cli", "status"],
            env={**os.environ, "BLKCOLO_COORDINATOR": stack.address("coordinator")},
            capture_output=True,
            text=True,
            check=False,
        )
        paused = f"flushing the Disk Buffer of disk0 at {MIB} failed"
        assert paused in shown.stdout, shown
        assert "repeat the call" in shown.stdout
        with NbdClient(stack.nbd["secondary"], "disk0") as new_vm:
            assert new_vm.read(0, SIZE) == expected
            expected[MIB + 100 : MIB + 5100] = b"n" * 5000
            new_vm.write(MIB + 100, b"n" * 5000)
            if killed:
                stack.kill("secondary")
                stack.start("secondary")
                wait_paused(stack)
        wait_until(lambda: stack.group().HasField("secondary"), "it is back")
        disk.heal()
        stack.failover()
        stack.wait_flushed()
        assert not stack.secondary_status().HasField("failure")
        wait_until(lambda: not stack.group().HasField("failure"), "all is well")
        assert disk.content.read_bytes() == expected


def wait_paused(stack: Stack) -> None:
    def paused() -> bool:
        status = stack.secondary_status()
        return bool(
            status.state == types_pb2.REPLICA_STATE_FAILING_OVER
            and status.failure.errno == errno.EIO
        )

    wait_until(paused, "the flush is paused, and says why")
