"""Nobody waits for the secondary's disk; the Disk Buffer's limit is what ends that."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from blkcolo.v1 import primary_pb2, secondary_pb2, types_pb2
from tests.nbd_client import NbdClient
from tests.stack import MIB, PROTECTED, Stack, running, wait_until
from tests.tracer import traced

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.fault]

HOST = 'durability = "host"\n'


def prepare(stack: Stack) -> int:
    """Both prepares, as a hypervisor calls them."""
    epoch = stack.primary_status().epoch
    generation = stack.group().generation
    prepared = stack.primary.PrepareCheckpoint(
        primary_pb2.PrimaryServicePrepareCheckpointRequest(
            group="vm1", generation=generation, epoch=epoch
        ),
        timeout=10,
    )
    stack.secondary.PrepareCheckpoint(
        secondary_pb2.SecondaryServicePrepareCheckpointRequest(
            group="vm1",
            generation=generation,
            epoch=epoch,
            barrier_seq=prepared.barrier_seq,
        ),
        timeout=10,
    )
    return epoch


def commit(stack: Stack, epoch: int) -> int:
    request = secondary_pb2.SecondaryServiceDoCheckpointRequest(
        group="vm1", generation=stack.group().generation, epoch=epoch
    )
    return int(stack.secondary.DoCheckpoint(request, timeout=60).committed_epoch)


def slow(stack: Stack, call: str, milliseconds: int) -> tuple[str, ...]:
    """Options of strace that make a call on the secondary's image slow."""
    return (
        *("-P", str(stack.image("secondary")), "-e", f"trace={call}"),
        *("-e", f"inject={call}:delay_enter={milliseconds * 1000}"),
    )


def test_next_epoch_is_written_and_prepared_while_the_last_one_still_syncs(
    tmp_path: Path,
) -> None:
    with (
        running(tmp_path, sizes=(4 * MIB,), secondary_options=HOST) as stack,
        NbdClient(stack.nbd["primary"], "disk0") as vm,
        ThreadPoolExecutor(1) as background,
    ):
        stack.pause()
        vm.write(0, b"one" * 1000)
        epoch = prepare(stack)
        with traced(stack, "secondary", *slow(stack, "fdatasync", 8000)):
            committing = background.submit(commit, stack, epoch)
            vm.write(4096, b"two" * 1000)
            following = prepare(stack)
            assert following == epoch + 1
            assert not committing.done()
            assert stack.secondary_status().committed_epoch < epoch
            assert committing.result() == epoch
        assert commit(stack, following) == following
        with NbdClient(stack.nbd["secondary"], "disk0") as reader:
            assert reader.read(4096, 3000) == b"two" * 1000


def test_vm_writes_do_not_wait_for_a_slow_disk_of_the_secondary(
    tmp_path: Path,
) -> None:
    with (
        running(tmp_path, sizes=(4 * MIB,)) as stack,
        NbdClient(stack.nbd["primary"], "disk0") as vm,
    ):
        stack.pause()
        with traced(stack, "secondary", *slow(stack, "pwrite64", 2000)):
            for number in range(8):
                vm.write(number * 65536, bytes([number + 1]) * 4096)
            assert stack.primary_status().in_flight_bytes > 0
        stack.checkpoint()
        images = [stack.image(name).read_bytes() for name in ("primary", "secondary")]
        assert images[0] == images[1]


LIMITED = 'buffer_limit_bytes = "2M"\n'


def fill(stack: Stack, vm: NbdClient) -> None:
    """Overwrites more than the limit in one epoch."""
    vm.write(0, b"a" * 4 * MIB)
    stack.checkpoint()
    stack.pause()
    vm.write(0, b"b" * 3 * MIB)
    wait_until(lambda: stack.secondary_status().buffer_full, "the buffer is full")


def test_full_buffer_holds_the_vm_up_until_a_checkpoint_empties_it(
    tmp_path: Path,
) -> None:
    with (
        running(tmp_path, sizes=(4 * MIB,), secondary_options=LIMITED) as stack,
        NbdClient(stack.nbd["primary"], "disk0") as vm,
        ThreadPoolExecutor(1) as background,
    ):
        fill(stack, vm)
        assert "blkcolo_secondary_buffer_limit_bytes" in stack.scrape("secondary")
        wait_until(
            lambda: (
                'blkcolo_secondary_buffer_full{group="vm1"} 1.0'
                in stack.scrape("secondary")
            ),
            "the metric says so",
        )
        held = background.submit(vm.write, 0, b"c" * 4096)
        wait_until(lambda: stack.primary_status().throttled, "the primary says so")
        assert 'blkcolo_primary_throttled{group="vm1"} 1.0' in stack.scrape("primary")
        assert stack.primary_status().protected
        assert not held.done()
        stack.checkpoint()
        held.result(20)
        wait_until(lambda: not stack.primary_status().throttled, "it goes on")


def test_full_buffer_detaches_the_primary_where_it_is_told_to(tmp_path: Path) -> None:
    with (
        running(
            tmp_path,
            sizes=(4 * MIB,),
            secondary_options=LIMITED,
            primary_options='on_congestion = "detach"\n',
        ) as stack,
        NbdClient(stack.nbd["primary"], "disk0") as vm,
    ):
        fill(stack, vm)
        vm.write(0, b"c" * 4096)  # is not held up
        wait_until(
            lambda: (
                stack.group().failure.reason == types_pb2.REASON_BUFFER_FULL
                or stack.primary_status().failure.reason == types_pb2.REASON_BUFFER_FULL
            ),
            "and why is reported",
        )
        stack.resume()
        stack.wait_state(PROTECTED)


def test_high_water_mark_asks_for_an_early_checkpoint(tmp_path: Path) -> None:
    with (
        running(
            tmp_path,
            sizes=(4 * MIB,),
            policy_options='buffer_high_water_bytes = "1M"\n',
        ) as stack,
        NbdClient(stack.nbd["primary"], "disk0") as vm,
    ):
        vm.write(0, b"a" * 4 * MIB)
        before = stack.checkpoint()
        vm.write(0, b"b" * 2 * MIB)
        wait_until(lambda: stack.group().committed_epoch > before, "a checkpoint")
        assert 'trigger="buffer"' in stack.scrape("coordinator")
