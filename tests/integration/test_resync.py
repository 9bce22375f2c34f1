"""Both sides come together again: only what was written is compared and sent."""

from __future__ import annotations

import errno
import random
from typing import TYPE_CHECKING

import grpc
import pytest

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

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.fault]

DIRTY = types_pb2.RESYNC_PLAN_DIRTY
FULL = types_pb2.RESYNC_PLAN_FULL
RESUME = types_pb2.RESYNC_PLAN_RESUME


def rng(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - test data


def assert_equal_images(stack: Stack) -> None:
    for number in range(len(stack.sizes)):
        ours = stack.image("primary", number).read_bytes()
        assert stack.image("secondary", number).read_bytes() == ours


def cut_and_return(stack: Stack, *names: str) -> None:
    for name in names:
        stack.kill(name)
    stack.start(*names)
    stack.wait_state(PROTECTED)


def test_first_copy_goes_to_a_blank_secondary_and_skips_holes(tmp_path: Path) -> None:
    stack = Stack(tmp_path, sizes=(64 * MIB, ODD_SIZE))
    content = bytearray(64 * MIB)
    content[5 * MIB : 6 * MIB] = rng(1).randbytes(MIB)
    with stack.image("primary").open("wb") as image:
        image.truncate(64 * MIB)
        image.seek(5 * MIB)
        image.write(content[5 * MIB : 6 * MIB])
    try:
        stack.start()
        stack.wait_state(PROTECTED)
        assert stack.primary_status().resync_plan == FULL
        assert stack.primary_status().resent_bytes == MIB
        assert stack.image("secondary").read_bytes() == content
        assert stack.image("secondary").stat().st_blocks * 512 <= 2 * MIB
    finally:
        stack.close()


def test_foreign_contents_are_overwritten_only_on_request(tmp_path: Path) -> None:
    stack = Stack(tmp_path)
    foreign = rng(2).randbytes(ODD_SIZE)
    stack.image("secondary").write_bytes(foreign)
    try:
        stack.start()
        wait_until(
            lambda: stack.group().failure.reason == types_pb2.REASON_CONTENTS_DIFFER,
            "the difference is found",
        )
        assert "--discard secondary" in stack.group().failure.message
        assert stack.image("secondary").read_bytes() == foreign
        stack.resume(discard_secondary=True)
        stack.wait_state(PROTECTED)
        assert_equal_images(stack)
    finally:
        stack.close()


def test_only_written_regions_are_sent_after_a_lost_secondary(tmp_path: Path) -> None:
    with (
        running(tmp_path, sizes=(64 * MIB, ODD_SIZE)) as stack,
        NbdClient(stack.nbd["primary"], "disk0") as vm,
    ):
        for at in range(0, 32 * MIB, MIB):
            vm.write(at, rng(at).randbytes(MIB))
        committed = stack.checkpoint()
        stack.kill("secondary")
        stack.wait_state(UNPROTECTED)
        vm.write(7 * MIB + 100, b"x" * 200)
        vm.write(40 * MIB, b"y" * 4096)
        stack.start("secondary")
        # Until the pass is complete, the last checkpoint is what failover leads to.
        assert stack.secondary_status().committed_epoch == committed
        stack.wait_state(PROTECTED)
        status = stack.primary_status()
        assert status.resync_plan == DIRTY
        # One 64 KiB extent, and of the other one the 4 KiB that are no hole.
        assert status.resent_bytes == 65536 + 4096
        assert_equal_images(stack)


def test_idle_pair_resumes_without_comparing(tmp_path: Path) -> None:
    with running(tmp_path, sizes=(64 * MIB,)) as stack:
        with NbdClient(stack.nbd["primary"], "disk0") as vm:
            vm.write(0, b"x" * 4096)
        stack.checkpoint()
        # Bits are cleared lazily: a restart finds the log as the last clear left it.
        cut_and_return(stack, "primary")
        stack.checkpoint()
        stack.stop("primary")
        stack.start("primary")
        stack.wait_state(PROTECTED)
        assert stack.primary_status().resync_plan in (RESUME, DIRTY)
        assert stack.primary_status().resync_total_bytes <= 65536
        assert stack.primary_status().resent_bytes == 0


@pytest.mark.parametrize("durability", ["process", "host"])
def test_killed_primary_knows_what_was_in_flight(
    tmp_path: Path, durability: str
) -> None:
    options = f'durability = "{durability}"\n'
    with running(
        tmp_path,
        sizes=(64 * MIB,),
        primary_options=options,
        secondary_options=options,
    ) as stack:
        with NbdClient(stack.nbd["primary"], "disk0") as vm:
            vm.write(0, b"a" * MIB)
            stack.checkpoint()
            stack.processes["secondary"].send_signal(19)  # SIGSTOP: nothing arrives
            for at in range(8 * MIB, 16 * MIB, MIB):
                vm.write(at, b"b" * MIB)
            stack.kill("primary")
        stack.processes["secondary"].send_signal(18)
        stack.start("primary")
        stack.wait_state(PROTECTED)
        assert stack.primary_status().resync_plan == DIRTY
        assert 0 < stack.primary_status().resync_total_bytes <= 10 * MIB
        assert_equal_images(stack)


def test_damaged_intent_log_costs_a_full_comparison_and_is_told(
    tmp_path: Path,
) -> None:
    with running(tmp_path, sizes=(4 * MIB,)) as stack:
        with NbdClient(stack.nbd["primary"], "disk0") as vm:
            for at in range(0, 4 * MIB, 128 << 10):
                vm.write(at, b"a" * 4096)
        stack.stop("primary")
        log = tmp_path / "primary" / "groups" / "vm1.intent"
        content = bytearray(log.read_bytes())
        content[5] ^= 255
        log.write_bytes(content)
        stack.start("primary")
        stack.wait_state(PROTECTED)
        assert stack.primary_status().resync_plan == FULL
        assert "intent log unusable" in stack.log("primary")
        assert 'blkcolo_primary_intent_log_damaged{group="vm1"} 1' in stack.scrape(
            "primary"
        )
        assert_equal_images(stack)


def test_missing_intent_log_costs_a_full_comparison_and_is_told(
    tmp_path: Path,
) -> None:
    with running(tmp_path, sizes=(4 * MIB,)) as stack:
        with NbdClient(stack.nbd["primary"], "disk0") as vm:
            vm.write(0, rng(1).randbytes(MIB))
        stack.checkpoint()
        stack.stop("primary")
        (tmp_path / "primary" / "groups" / "vm1.intent").unlink()
        stack.start("primary")
        stack.wait_state(PROTECTED)
        assert stack.primary_status().resync_plan == FULL
        assert stack.primary_status().resent_bytes == 0  # it was equal
        assert "no intent log of this copy" in stack.log("primary")
        assert (
            'blkcolo_primary_resyncs_total{group="vm1",plan="full"} 1'
            in stack.scrape("primary")
        )


def test_stale_primary_is_named_so_and_serves_no_writes(tmp_path: Path) -> None:
    """It was dead during the failover, and its coordinator is gone as well."""
    with running(tmp_path) as stack:
        stack.checkpoint()
        stack.kill("primary")
        stack.failover(force=True)
        stack.kill("coordinator")
        stack.start("primary")
        with NbdClient(stack.nbd["primary"], "disk0") as vm:
            vm.write(0, b"n" * 512)  # it does not know better yet
            request = primary_pb2.StartReplicationRequest(
                group="vm1", generation=1, secondary_address=stack.address("secondary")
            )
            with pytest.raises(grpc.RpcError) as refusal:
                stack.primary.StartReplication(request, timeout=10)
            assert "generation 1 is stale" in str(refusal.value.details())
            with pytest.raises(NbdReplyError) as refused:
                vm.write(0, b"n" * 512)
            assert refused.value.number == errno.EPERM
        status = stack.primary_status()
        assert status.state == types_pb2.FORWARD_STATE_FENCED
        assert status.failure.reason == types_pb2.REASON_STALE_GENERATION
        stack.kill("primary")
        stack.start("primary")
        assert stack.primary_status().state == types_pb2.FORWARD_STATE_FENCED


def test_link_that_is_lost_while_nothing_is_dirty_resumes_at_once(
    tmp_path: Path,
) -> None:
    with running(tmp_path, sizes=(8 * MIB,)) as stack:
        with NbdClient(stack.nbd["primary"], "disk0") as vm:
            vm.write(0, rng(1).randbytes(MIB))
        stack.checkpoint()
        sent = stack.primary_status().sent_bytes
        stack.kill("secondary")
        stack.wait_state(UNPROTECTED)
        stack.start("secondary")
        stack.wait_state(PROTECTED)
        status = stack.primary_status()
        assert status.resync_plan == RESUME
        assert status.resync_total_bytes == 0
        assert status.sent_bytes == sent


def test_first_copy_on_host_durability_survives_an_interruption(tmp_path: Path) -> None:
    options = 'durability = "host"\n'
    stack = Stack(
        tmp_path,
        sizes=(24 * MIB,),
        primary_options=options,
        secondary_options=options,
    )
    stack.image("primary").write_bytes(rng(4).randbytes(24 * MIB))
    try:
        stack.start("secondary", "primary", "coordinator")
        wait_until(lambda: stack.primary_status().resync_done_bytes, "it copies")
        cut_and_return(stack, "secondary")
        stack.wait_state(PROTECTED)
        assert_equal_images(stack)
    finally:
        stack.close()
