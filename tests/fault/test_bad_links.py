"""A link that is slow, stalls, is cut or corrupts bytes: data is never wrong.

The link is a proxy before the secondary, for the stream and the coordinator's calls.
"""

from __future__ import annotations

import contextlib
import random
import threading
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from blkcolo.v1 import types_pb2
from tests.link_proxy import LinkProxy, between
from tests.nbd_client import NbdClient
from tests.stack import MIB, PROTECTED, UNPROTECTED, Stack, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.fault]

REGION = 65536
LOST = types_pb2.FORWARD_STATE_LOST
RESYNCING = types_pb2.FORWARD_STATE_RESYNCING
FAST = "link_timeout_seconds = 1.0\n"


def rng(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - test data


@contextlib.contextmanager
def linked(folder: Path, **options: Any) -> Iterator[tuple[Stack, LinkProxy]]:
    """A stack, not started, whose secondary is behind a proxy."""
    stack = Stack(folder, **options)
    with between(stack.grpc["secondary"]) as proxy:
        config = stack.config("coordinator")
        text = config.read_text()
        config.write_text(text.replace(stack.address("secondary"), proxy.address))
        try:
            yield stack, proxy
        finally:
            proxy.heal()
            stack.close()


def assert_equal_images(stack: Stack) -> None:
    for number in range(len(stack.sizes)):
        ours = stack.image("primary", number).read_bytes()
        assert stack.image("secondary", number).read_bytes() == ours


def test_cut_link_costs_only_what_was_written_and_the_view_stands_all_through(
    tmp_path: Path,
) -> None:
    """I1 during a resync, and a bound of what it sends again."""
    written, bursts = 100 * MIB, 5
    with linked(tmp_path, sizes=(160 * MIB,)) as (stack, proxy):
        stack.start()
        stack.wait_state(PROTECTED)
        old = rng(1).randbytes(MIB)
        with NbdClient(stack.nbd["primary"], "disk0") as vm:
            for at in range(0, 160 * MIB, 16 * MIB):
                vm.write(at, old)
            committed = stack.checkpoint()
            proxy.cut()
            stack.wait_state(UNPROTECTED)
            new = rng(2).randbytes(MIB)
            for burst in range(bursts):
                start = burst * 32 * MIB + 4096 + 512
                for at in range(start, start + written // bursts, MIB):
                    vm.write(at, new)
        assert stack.secondary_status().committed_epoch == committed
        proxy.rate = 100 * MIB
        proxy.heal()
        looks = 0
        with NbdClient(stack.nbd["secondary"], "disk0") as view:
            while stack.primary_status().committed_epoch <= committed:
                seen = view.read(32 * MIB, MIB)
                if stack.secondary_status().committed_epoch == committed:
                    assert seen == old, "I1: the view moved without a commit"
                    looks += stack.primary_status().state == RESYNCING
        assert looks, "nobody looked during the resync"
        status = stack.primary_status()
        assert status.resync_plan == types_pb2.RESYNC_PLAN_DIRTY
        assert written <= status.resent_bytes <= written + bursts * REGION
        assert_equal_images(stack)


def test_flipped_bits_end_in_a_new_stream_and_never_in_wrong_data(
    tmp_path: Path,
) -> None:
    with (
        linked(tmp_path, sizes=(8 * MIB,), primary_options=FAST) as (stack, proxy),
    ):
        stack.start()
        stack.wait_state(PROTECTED)
        with NbdClient(stack.nbd["primary"], "disk0") as vm:
            # Payload, columns and frame headers alike.
            for at in (1, 7, 60, 300, 2000, 30000, 65000):
                proxy.corrupt(at)
                seeded = rng(at)

                def flipped(at: int = at, seeded: random.Random = seeded) -> bool:
                    for _ in range(40):  # more where a resync leaves some unsent
                        data = seeded.randbytes(4096)
                        vm.write(seeded.randrange(1, 2000) * 4096, data)
                        vm.write(at * 100, data)
                    return proxy.corrupted

                wait_until(flipped, "a bit is flipped")
                wait_until(lambda: _checkpointed(stack), "a checkpoint is committed")
                assert_equal_images(stack)
        assert stack.primary_status().resent_bytes > 0


def _checkpointed(stack: Stack) -> bool:
    """True when a checkpoint could be taken, and nothing is under way."""
    group = stack.group()
    if group.state != PROTECTED or group.primary.in_flight_bytes:
        return False
    try:
        stack.checkpoint()
    except grpc.RpcError:  # the stream was lost meanwhile
        return False
    return True


def test_stalled_link_is_given_up_in_time_and_comes_back_by_itself(
    tmp_path: Path,
) -> None:
    with linked(tmp_path, sizes=(8 * MIB,), primary_options=FAST) as (stack, proxy):
        stack.start()
        stack.wait_state(PROTECTED)
        with NbdClient(stack.nbd["primary"], "disk0") as vm:
            proxy.stall()
            vm.write(0, b"s" * MIB)
            wait_until(lambda: stack.primary_status().state == LOST, "it is given up")
            vm.write(MIB, b"t" * MIB)
            wait_until(lambda: stack.group().state == UNPROTECTED, "it is told")
        proxy.heal()
        wait_until(lambda: stack.group().state == PROTECTED, "it is back", 40)
        assert_equal_images(stack)


def test_interrupted_first_copy_goes_on_where_it_was(tmp_path: Path) -> None:
    size = 96 * MIB
    with linked(tmp_path, sizes=(size,)) as (stack, proxy):
        stack.image("primary").write_bytes(rng(5).randbytes(size))
        proxy.rate = 24 * MIB
        stack.start()
        left = _interrupt(stack, "secondary", 64 * MIB, size)
        _interrupt(stack, "primary", 32 * MIB, left)
        proxy.rate = 0
        stack.wait_state(PROTECTED)
        assert_equal_images(stack)


def _interrupt(stack: Stack, name: str, enough: int, before: int) -> int:
    """Kills a side once enough is compared; returns what is left to compare."""
    wait_until(lambda: _progress(stack) >= enough, "a part is copied", 60)
    stack.kill(name)
    stack.start(name)
    wait_until(lambda: _total(stack) not in (0, before), "it goes on", 60)
    # What was compared last, a portion or two, is compared again.
    assert _total(stack) <= before - enough // 4, f"{name}: begun anew"
    return _total(stack)


def _progress(stack: Stack) -> int:
    status = stack.primary_status()
    return status.resync_done_bytes if status.state == RESYNCING else 0


def _total(stack: Stack) -> int:
    status = stack.primary_status()
    return status.resync_total_bytes if status.state == RESYNCING else 0


def test_detaching_again_and_again_is_told_and_ends_when_the_link_is_fast(
    tmp_path: Path,
) -> None:
    options = 'on_congestion = "detach"\nwindow_bytes = 1048576\n'
    with linked(tmp_path, sizes=(16 * MIB,), primary_options=options) as (stack, proxy):
        stack.start()
        stack.wait_state(PROTECTED)
        proxy.rate = MIB // 2
        stop = threading.Event()
        writer = threading.Thread(target=_write_until, args=(stack, stop))
        writer.start()
        try:
            wait_until(
                lambda: stack.group().failure.reason == types_pb2.REASON_NO_HEADWAY,
                "it is told",
                60,
            )
            assert "CONGESTION" in stack.group().failure.message
            name = 'blkcolo_coordinator_losses_since_commit{group="vm1"}'
            line = next(
                each
                for each in stack.scrape("coordinator").splitlines()
                if each.startswith(name)
            )
            assert float(line.split()[1]) >= 3
            assert "NO_HEADWAY" in stack.log("coordinator")
        finally:
            stop.set()
            writer.join(20)
        proxy.rate = 0
        wait_until(lambda: stack.group().state == PROTECTED, "it is back", 60)
        assert_equal_images(stack)


def _write_until(stack: Stack, stop: threading.Event) -> None:
    with NbdClient(stack.nbd["primary"], "disk0") as vm:
        data = rng(9).randbytes(REGION)
        number = 0
        while not stop.wait(0.002):
            vm.write(number % 256 * REGION, data)
            number += 1
