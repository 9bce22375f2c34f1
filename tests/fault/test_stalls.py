"""SIGSTOP of each service for longer than every deadline, and SIGCONT.

What holds while a primary is stopped and its secondary is failed over by force: the
stopped one answers nobody, so nobody's write is lost. Where it goes on, it answers
what its clients sent to it until the coordinator's fence reaches it, one poll later:
with `--force` the operator vouches for that nobody writes to it.
"""

from __future__ import annotations

import contextlib
import errno
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import grpc
import pytest

from blkcolo.v1 import primary_pb2, secondary_pb2, types_pb2
from tests.nbd_client import NbdClient, NbdReplyError
from tests.stack import MIB, PROTECTED, Stack, running, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.fault, pytest.mark.integration, pytest.mark.timeout(120)]

#: Every deadline of the stack, in seconds; a stalled service misses all of them.
_SHORT = (
    "call_timeout_seconds = 1\nprepare_timeout_seconds = 1\nstop_timeout_seconds = 1\n"
)
_LINK = "link_timeout_seconds = 1\n"


@contextlib.contextmanager
def short_deadlines(folder: Path) -> Iterator[Stack]:
    """A protected stack that loses patience after a second."""
    options = {"primary_options": _LINK, "max_interval": 0.2}
    with running(folder, coordinator_options=_SHORT, **options) as stack:
        yield stack


@contextlib.contextmanager
def stalled(stack: Stack, *names: str) -> Iterator[None]:
    for name in names:
        stack.processes[name].send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for name in names:
            stack.processes[name].send_signal(signal.SIGCONT)


def assert_equal_after_checkpoint(stack: Stack) -> None:
    stack.wait_state(PROTECTED)
    stack.checkpoint()
    assert stack.image("secondary").read_bytes() == stack.image("primary").read_bytes()


def test_vm_writes_on_while_the_secondary_stalls(tmp_path: Path) -> None:
    with (
        short_deadlines(tmp_path) as stack,
        NbdClient(stack.nbd["primary"], "disk0") as vm,
    ):
        with stalled(stack, "secondary"):
            vm.write(0, b"a" * 4096)
            wait_until(lambda: not stack.primary_status().protected, "it is told")
            wait_until(lambda: stack.group().state != PROTECTED, "the group says so")
            assert stack.group().failure.reason in (
                types_pb2.REASON_LINK_LOST,
                types_pb2.REASON_DEADLINE,
                types_pb2.REASON_PEER_UNREACHABLE,
            )
            vm.write(8192, b"b" * 4096)
            wait_until(
                lambda: stack.primary_status().unreplicated_bytes >= 8192,
                "what nobody else has is counted",
            )
            assert stack.group().state != PROTECTED
        assert_equal_after_checkpoint(stack)


def test_group_is_unprotected_while_its_primary_stalls(tmp_path: Path) -> None:
    with (
        short_deadlines(tmp_path) as stack,
        NbdClient(stack.nbd["primary"], "disk0") as vm,
    ):
        vm.write(0, b"a" * 4096)
        with stalled(stack, "primary"):
            wait_until(lambda: stack.group().state != PROTECTED, "it is told")
            assert not stack.group().HasField("primary")
            with pytest.raises(grpc.RpcError):
                stack.checkpoint()
            assert stack.group().state != PROTECTED
        vm.write(4096, b"b" * 4096)
        assert_equal_after_checkpoint(stack)


def test_replication_goes_on_while_the_coordinator_stalls(tmp_path: Path) -> None:
    with (
        short_deadlines(tmp_path) as stack,
        NbdClient(stack.nbd["primary"], "disk0") as vm,
    ):
        with stalled(stack, "coordinator"):
            vm.write(0, b"a" * 4096)
            wait_until(
                lambda: stack.primary_status().in_flight_bytes == 0, "it is replicated"
            )
            assert stack.primary_status().unreplicated_bytes == 0
        assert_equal_after_checkpoint(stack)


def test_stopped_primary_refuses_writes_once_it_hears_of_a_failover(
    tmp_path: Path,
) -> None:
    with (
        short_deadlines(tmp_path) as stack,
        NbdClient(stack.nbd["primary"], "disk0") as vm,
        ThreadPoolExecutor(1) as thread,
    ):
        vm.write(0, b"a" * 4096)
        stack.pause()
        epoch = stack.checkpoint()
        with stalled(stack, "primary"):
            late = thread.submit(vm.write, 0, b"late" * 1024)
            with pytest.raises(grpc.RpcError) as refusal:
                stack.failover()
            assert "force" in str(refusal.value)
            answer = stack.failover(force=True)
            assert (answer.committed_epoch, answer.primary_fenced) == (epoch, False)
            with NbdClient(stack.nbd["secondary"], "disk0") as new_vm:
                new_vm.write(8192, b"n" * 4096)
            stack.wait_flushed()
            assert not late.done()
        wait_until(
            lambda: stack.primary_status().state == types_pb2.FORWARD_STATE_FENCED,
            "the old primary hears of it",
        )
        with contextlib.suppress(NbdReplyError):  # sent before; either answer is true
            late.result(timeout=20)
        with pytest.raises(NbdReplyError) as fenced:
            vm.write(0, b"x" * 512)
        assert fenced.value.number == errno.EPERM
        content = stack.image("secondary").read_bytes()
        assert content[:4096] == b"a" * 4096, "a write of the old generation came over"
        assert content[8192:12288] == b"n" * 4096


def test_restarted_coordinator_claims_no_protection_before_it_has_asked(
    tmp_path: Path,
) -> None:
    with short_deadlines(tmp_path) as stack:
        with stalled(stack, "primary", "secondary"):
            stack.kill("coordinator")
            stack.start("coordinator")
            assert stack.group().state != PROTECTED
        assert_equal_after_checkpoint(stack)


def test_prepare_waits_for_a_barrier_behind_another_one(tmp_path: Path) -> None:
    """As a coordinator leaves them that was killed between its two prepares."""
    with (
        running(tmp_path, sizes=(16 * MIB,)) as stack,
        NbdClient(stack.nbd["primary"], "disk0") as vm,
        ThreadPoolExecutor(1) as thread,
    ):
        stack.pause()
        with stalled(stack, "secondary"):
            vm.write(0, b"a" * (8 * MIB))
            first = stack.primary_status().epoch
            prepare_primary(stack, first)
            vm.write(0, b"b" * (8 * MIB))
            request = secondary_pb2.SecondaryServicePrepareCheckpointRequest(
                group="vm1",
                generation=1,
                epoch=first + 1,
                barrier_seq=prepare_primary(stack, first + 1),
            )
            answer = thread.submit(
                stack.secondary.PrepareCheckpoint, request, timeout=30
            )
        assert answer.result(timeout=30).epoch == first + 1


def prepare_primary(stack: Stack, epoch: int) -> int:
    request = primary_pb2.PrimaryServicePrepareCheckpointRequest(
        group="vm1", generation=1, epoch=epoch
    )
    return int(stack.primary.PrepareCheckpoint(request, timeout=5).barrier_seq)
