"""A wall clock that jumps: libfaketime under the services, their timers untouched."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from blkcolo.v1 import coordinator_pb2
from tests.nbd_client import NbdClient
from tests.stack import MIB, PROTECTED, Stack, wait_until
from tests.tools import missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.fault, pytest.mark.integration, pytest.mark.timeout(120)]

_DAY = 86400
_KEEP = "history.keep = 5\nhistory.max_age_seconds = 3600\n"


@pytest.fixture
def jump(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets the clock of all services so many seconds off."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not found:
        missing("faketime is not installed")
    offset = tmp_path / "clock-offset"

    def jump(seconds: int) -> None:
        spare = offset.with_suffix(".new")
        spare.write_text(f"{seconds:+d}\n")
        spare.replace(offset)

    monkeypatch.setenv("LD_PRELOAD", str(found[0]))
    monkeypatch.setenv("FAKETIME_TIMESTAMP_FILE", str(offset))
    monkeypatch.setenv("FAKETIME_NO_CACHE", "1")
    monkeypatch.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    return jump


@pytest.fixture
def stack(
    tmp_path: Path,
    jump: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Stack]:
    """A protected stack, whose clock `jump` sets; this process keeps its own."""
    jump(0)
    stack = Stack(tmp_path, max_interval=0.2, secondary_options=_KEEP)
    try:
        stack.start()
        monkeypatch.delenv("LD_PRELOAD")
        stack.wait_state(PROTECTED)
        yield stack
    finally:
        stack.close()


def wait_committed(stack: Stack, epoch: int) -> None:
    """Waits for checkpoints that the policy takes by its own clock."""
    wait_until(lambda: stack.group().committed_epoch >= epoch, "checkpoints go on")


def history(stack: Stack) -> list[tuple[int, float]]:
    """Epochs and their times, newest first."""
    request = coordinator_pb2.ListCheckpointsRequest(group="vm1")
    listed = stack.coordinator.ListCheckpoints(request, timeout=5).checkpoints
    return [(entry.epoch, entry.committed_timestamp_seconds) for entry in listed]


def assert_status_is_sane(stack: Stack) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "blkcolo_cli", "status"],
        env={**os.environ, "BLKCOLO_COORDINATOR": stack.address("coordinator")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, shown
    assert " -" not in shown.stdout, shown.stdout
    assert stack.group().last_checkpoint.total_seconds >= 0
    for name in ("primary", "secondary", "coordinator"):
        for sample in stack.scrape(name).splitlines():
            if sample.startswith("blkcolo_"):
                assert float(sample.rsplit(" ", 1)[1]) >= 0, sample


def test_checkpoints_go_on_over_jumps_of_the_clock(
    stack: Stack, jump: Callable[[int], None]
) -> None:
    with NbdClient(stack.nbd["primary"], "disk0") as vm:
        for number, offset in enumerate((0, 2 * _DAY, -2 * _DAY, 0)):
            before = stack.group().committed_epoch
            jump(offset)
            for part in (0, 4096):
                vm.write(number * 8192 + part, bytes([number + 1]) * 4096)
                before += 1
                wait_committed(stack, before)
            stack.checkpoint()
            assert stack.group().state == PROTECTED
            assert_status_is_sane(stack)
            kept = history(stack)
            assert [epoch for epoch, _ in kept] == sorted(
                (epoch for epoch, _ in kept), reverse=True
            )
            assert 1 <= len(kept) <= 6  # the last one and five more
        stack.kill("secondary")
    content = stack.image("primary").read_bytes()
    assert content[:MIB] == b"".join(
        [*(bytes([n]) * 8192 for n in (1, 2, 3, 4)), bytes(MIB - 4 * 8192)]
    )
    assert stack.image("secondary").read_bytes() == content


def test_a_clock_that_is_set_back_does_not_hide_how_old_the_recovery_point_is(
    stack: Stack, jump: Callable[[int], None]
) -> None:
    stack.checkpoint()
    stack.pause()
    with NbdClient(stack.nbd["primary"], "disk0") as vm:
        vm.write(0, b"w" * 4096)
        jump(-_DAY)
        name = 'blkcolo_coordinator_rpo_seconds{group="vm1"}'

        def age() -> float:
            lines = stack.scrape("coordinator").splitlines()
            return next(float(x.split()[1]) for x in lines if x.startswith(name))

        wait_until(lambda: age() > 1, "the age grows")
        group = stack.group()
        assert group.recovery_point_age_seconds > 1
        assert group.committed_age_seconds >= group.recovery_point_age_seconds
        jump(_DAY)
        assert age() < _DAY / 2, "nor does one that is set forward make it older"


def test_history_is_pruned_by_age_where_the_clock_jumps_forwards(
    stack: Stack, jump: Callable[[int], None]
) -> None:
    for _ in range(5):
        stack.checkpoint()
    oldest = min(epoch for epoch, _ in history(stack))
    jump(2 * _DAY)
    newest = stack.checkpoint()
    kept = [epoch for epoch, _ in history(stack)]
    assert newest <= kept[0], "the checkpoint to fail over to is never pruned"
    assert oldest not in kept
    assert history(stack)[0][1] > time.time() + _DAY, "the clock has jumped"
