"""A real secondary, killed at a chosen system call, comes back with the same view."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import grpc
import pytest

from blkcolo.v1 import secondary_pb2, types_pb2
from tests.forwarder import Forwarder, stop
from tests.nbd_client import NbdClient
from tests.stack import MIB, Stack, wait_until
from tests.tracer import killed_at

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.fault]

SIZE = 4 * MIB
BLOCK = 4096
OLD, NEW, MINE = (word * (BLOCK // 4) for word in (b"old!", b"new?", b"mine"))
FIRST = OLD * (SIZE // BLOCK)
#: Every other block: what the second epoch writes.
SCATTERED = list(range(0, SIZE, 2 * BLOCK))
SECOND = b"".join((NEW, OLD)) * (SIZE // BLOCK // 2)
FAILOVER = secondary_pb2.STOP_MODE_FAILOVER
ROLLBACK = secondary_pb2.STOP_MODE_ROLLBACK


@pytest.fixture
def stack(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stack]:
    """A secondary alone; with `host`, where more happens, unless a test says else."""
    durability = f'durability = "{getattr(request, "param", "host")}"\n'
    stack = Stack(tmp_path, sizes=(SIZE,), secondary_options=durability)
    stack.start("secondary")
    yield stack
    stack.close()


def group_folder(stack: Stack) -> Path:
    return stack.folder / "secondary" / "groups" / "vm1"


def view(stack: Stack) -> bytes:
    with NbdClient(stack.nbd["secondary"], "disk0") as reader:
        return reader.read(0, SIZE)


def first_checkpoint(forwarder: Forwarder) -> int:
    forwarder.write([at * BLOCK for at in range(SIZE // BLOCK)], OLD)
    return forwarder.checkpoint()


def check_goes_on(stack: Stack, committed: int, content: bytes) -> None:
    """The view is what it was; the stream resumes above; the next epoch commits."""
    assert stack.secondary_status().committed_epoch == committed
    assert view(stack) == content
    with Forwarder(stack) as forwarder:
        assert forwarder.welcome is not None
        assert forwarder.welcome.committed == committed
        assert forwarder.welcome.epoch > committed
        assert view(stack) == content
        forwarder.write([at * BLOCK for at in range(SIZE // BLOCK)], MINE)
        forwarder.applied()
        assert view(stack) == content
        assert forwarder.checkpoint() > committed
        assert view(stack) == MINE * (SIZE // BLOCK)


@pytest.mark.parametrize("when", [1, 100])
def test_killed_in_the_middle_of_an_epoch_and_of_its_prepare(
    stack: Stack, when: int
) -> None:
    with Forwarder(stack) as forwarder:
        committed = first_checkpoint(forwarder)
        image = stack.image("secondary")
        with killed_at(stack, "secondary", "pwrite64", image, when=when):
            forwarder.write(SCATTERED, NEW)
            with pytest.raises(grpc.RpcError):
                forwarder.prepare(forwarder.barrier())
    stack.start("secondary")
    check_goes_on(stack, committed, FIRST)


def test_killed_before_the_commit_record_the_commit_never_happened(
    stack: Stack,
) -> None:
    with Forwarder(stack) as forwarder:
        committed = first_checkpoint(forwarder)
        forwarder.write(SCATTERED, NEW)
        epoch = forwarder.barrier()
        forwarder.prepare(epoch)
        journal = group_folder(stack) / "journal"
        with (
            killed_at(stack, "secondary", "pwrite64", journal),
            pytest.raises(grpc.RpcError),
        ):
            forwarder.commit(epoch)
    stack.start("secondary")
    check_goes_on(stack, committed, FIRST)


BOTH = pytest.mark.parametrize("stack", ["process", "host"], indirect=True)


@BOTH
def test_killed_in_the_drop_behind_the_commit_record_the_commit_holds(
    stack: Stack,
) -> None:
    with Forwarder(stack) as forwarder:
        first_checkpoint(forwarder)
        forwarder.write(SCATTERED, NEW)
        epoch = forwarder.barrier()
        forwarder.prepare(epoch)
        layer = group_folder(stack) / f"undo-{epoch}"
        with (
            killed_at(stack, "secondary", "unlink,unlinkat", layer),
            contextlib.suppress(grpc.RpcError),
        ):
            forwarder.commit(epoch)
        assert layer.exists()
    stack.start("secondary")
    assert not layer.exists()
    check_goes_on(stack, epoch, SECOND)


def fill_second_epoch(stack: Stack) -> int:
    with Forwarder(stack) as forwarder:
        committed = first_checkpoint(forwarder)
        forwarder.write(SCATTERED, NEW)
        forwarder.applied()
    return committed


@pytest.mark.parametrize(
    ("file", "when"), [("image", 300), ("journal", 1), ("journal", 2)]
)
def test_killed_in_a_failover_flush_it_goes_on_and_keeps_what_clients_wrote(
    stack: Stack, file: str, when: int
) -> None:
    committed = fill_second_epoch(stack)
    journal = group_folder(stack) / "journal"
    path = stack.image("secondary") if file == "image" else journal
    after_stop = 1 if file == "journal" else 0  # the stop itself writes one record
    with killed_at(stack, "secondary", "pwrite64", path, when=when + after_stop):
        answer = stop(stack, FAILOVER)
        assert answer.committed_epoch == committed
    stack.start("secondary")
    with NbdClient(stack.nbd["secondary"], "disk0") as vm:
        vm.write(8 * BLOCK + 100, MINE)
        expected = FIRST[: 8 * BLOCK + 100] + MINE + FIRST[9 * BLOCK + 100 :]
        assert vm.read(0, SIZE) == expected
        stack.wait_flushed()
        assert vm.read(0, SIZE) == expected
    assert stack.image("secondary").read_bytes() == expected
    wait_until(lambda: not list(group_folder(stack).glob("undo-*")), "files are gone")


def test_killed_in_a_rollback_it_goes_on_and_may_be_resumed(stack: Stack) -> None:
    committed = fill_second_epoch(stack)
    image = stack.image("secondary")
    assert image.read_bytes() == SECOND
    with (
        killed_at(stack, "secondary", "pwrite64", image, when=200),
        pytest.raises(grpc.RpcError),
    ):
        stop(stack, ROLLBACK, generation=1)
    stack.start("secondary")
    assert view(stack) == FIRST
    stop(stack, ROLLBACK, generation=1)
    stopped = types_pb2.REPLICA_STATE_STOPPED
    wait_until(lambda: stack.secondary_status().state == stopped, "stopped")
    assert image.read_bytes() == FIRST
    check_goes_on(stack, committed, FIRST)
