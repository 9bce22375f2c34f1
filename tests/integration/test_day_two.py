"""The tasks of docs/operating.md that change disks and hosts, step by step."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from blkcolo.v1 import coordinator_pb2
from tests.nbd_client import NbdClient
from tests.stack import MIB, PROTECTED, Stack, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with running(tmp_path, sizes=(4 * MIB,)) as stack:
        with NbdClient(stack.nbd["primary"], "disk0") as vm:
            vm.write(4096, b"a" * 65536)
        stack.checkpoint()
        yield stack


def assert_equal_after_a_write(stack: Stack) -> None:
    with NbdClient(stack.nbd["primary"], "disk0") as vm:
        vm.write(1 * MIB, b"b" * 65536)
    stack.checkpoint()
    ours = stack.image("primary").read_bytes()
    assert stack.image("secondary").read_bytes() == ours


def test_replaced_disk_of_the_secondary_gets_a_first_copy(stack: Stack) -> None:
    stack.stop("secondary")
    stack.image("secondary").unlink()
    groups = stack.folder / "secondary" / "groups"
    groups.rename(stack.folder / "secondary" / "groups.old")
    stack.start("secondary")
    stack.wait_state(PROTECTED)
    assert_equal_after_a_write(stack)


def test_coordinator_moves_with_a_backup_of_its_store(stack: Stack) -> None:
    stack.failover()
    generation, backup = stack.group().generation, stack.folder / "backup.sqlite"
    store = stack.folder / "coordinator" / "coordinator.sqlite"
    with (
        closing(sqlite3.connect(store)) as source,
        closing(sqlite3.connect(backup)) as target,
    ):
        source.backup(target)  # as `sqlite3 STORE ".backup FILE"` does
    state = stack.group().state
    stack.kill("coordinator")
    shutil.rmtree(stack.folder / "coordinator")
    store.parent.mkdir()
    shutil.copy(backup, store)
    stack.start("coordinator")
    assert (stack.group().state, stack.group().generation) == (state, generation)


def test_lost_store_is_learnt_again_from_both_sides(stack: Stack) -> None:
    committed = stack.group().committed_epoch
    stack.kill("coordinator")
    shutil.rmtree(stack.folder / "coordinator")
    stack.start("coordinator")
    stack.wait_state(PROTECTED)
    assert stack.group().committed_epoch > committed
    assert_equal_after_a_write(stack)


def test_replaced_disk_of_a_former_primary_gets_a_first_copy(stack: Stack) -> None:
    request = coordinator_pb2.SwitchoverRequest(group="vm1")
    stack.coordinator.Switchover(request, timeout=30)
    stack.wait_state(PROTECTED)
    stack.stop("primary")
    stack.image("primary").unlink()
    groups = stack.folder / "primary" / "groups"
    groups.rename(stack.folder / "primary" / "groups.old")
    groups.mkdir()
    (groups / "vm1.role").write_text("secondary")
    stack.start("primary")
    stack.wait_state(PROTECTED)
    with NbdClient(stack.nbd["secondary"], "disk0") as vm:
        vm.write(1 * MIB, b"b" * 65536)
    stack.checkpoint()
    ours = stack.image("secondary").read_bytes()
    assert stack.image("primary").read_bytes() == ours
