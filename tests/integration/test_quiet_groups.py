"""A group that nobody writes to costs no checkpoints, and is safe all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.nbd_client import NbdClient
from tests.stack import MIB, PROTECTED, running, wait_until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration

_QUIET_SECONDS = 0.5
_TRIM = 4


def test_nothing_is_checkpointed_while_nothing_is_written_and_a_trim_counts_as_written(
    tmp_path: Path,
) -> None:
    with running(tmp_path, sizes=(MIB,), secondary_vm=True, max_interval=0.1) as stack:
        stack.wait_state(PROTECTED)

        def wait_quiet() -> int:
            """Until it was quiet for five times the interval; the checkpoint then."""

            def quiet() -> bool:
                group = stack.group()
                safe_at = group.recovery_point_timestamp_seconds
                return safe_at - group.committed_timestamp_seconds > _QUIET_SECONDS

            wait_until(quiet, "nothing to checkpoint")
            return int(stack.group().committed_epoch)

        def looks() -> float:
            """How often the secondary was asked for its status."""
            (line,) = (
                line
                for line in stack.scrape("secondary").splitlines()
                if line.startswith("grpc_server_started_total{")
                and '"GetStatus"' in line
                and "SecondaryService" in line
            )
            return float(line.rsplit(" ", 1)[1])

        def wait_newer(epoch: int, why: str) -> None:
            wait_until(lambda: stack.group().committed_epoch > epoch, why)

        before = wait_quiet()
        asked, safe_at = looks(), stack.group().recovery_point_timestamp_seconds
        wait_until(
            lambda: stack.group().recovery_point_timestamp_seconds > safe_at + 5,
            "the recovery point moves on",
        )
        assert looks() - asked < 10, "in every interval: 100"
        with NbdClient(stack.nbd["primary"], "disk0") as vm:
            vm.write(4096, b"x" * 4096)
            wait_newer(before, "a write is checkpointed")
            before = wait_quiet()
            vm.request(_TRIM, 4096, 4096)
            wait_newer(before, "a trim is checkpointed")
        before = wait_quiet()
        with NbdClient(stack.nbd["secondary"], "disk0") as vm:
            vm.write(0, b"y" * 4096)
            wait_newer(before, "what the secondary VM wrote is dropped")
            assert vm.read(0, 8192) == bytes(8192)
        before = wait_quiet()
        assert stack.checkpoint() == before + 1, "who asks gets one"
