"""StopReplication in each mode, and replication that starts again after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest

from blkcolo.v1 import coordinator_pb2 as pb
from blkcolo.v1 import primary_pb2, types_pb2
from tests.nbd_client import NbdClient, NbdReplyError
from tests.stack import PROTECTED, UNPROTECTED, Stack, running, wait_until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration


def stop(stack: Stack, *, keep_latest: bool) -> None:
    request = pb.StopReplicationRequest(group="vm1", keep_latest=keep_latest)
    stack.coordinator.StopReplication(request, timeout=60)
    stopped = types_pb2.REPLICA_STATE_STOPPED
    wait_until(lambda: stack.secondary_status().state == stopped, "it has stopped")


@pytest.mark.parametrize("keep_latest", [False, True])
def test_stop_leaves_the_secondary_at_the_checkpoint_or_at_the_latest_write(
    tmp_path: Path, keep_latest: bool
) -> None:
    """Without the primary, which could have taken a last checkpoint."""
    with running(tmp_path, secondary_vm=True) as stack:
        with NbdClient(stack.nbd["primary"], "disk0") as vm:
            vm.write(1000, b"a" * 70000)
            stack.checkpoint()
            stack.pause()
            at_checkpoint = stack.image("primary").read_bytes()
            vm.write(3000, b"b" * 500000)
            vm.write(1052000, b"c" * 100)
        wait_until(lambda: stack.primary_status().in_flight_bytes == 0, "applied")
        latest = stack.image("primary").read_bytes()
        with NbdClient(stack.nbd["secondary"], "disk0") as svm:
            svm.write(5, b"overlay")
            stack.kill("primary")
            stack.wait_state(UNPROTECTED)
            stop(stack, keep_latest=keep_latest)
            with pytest.raises(NbdReplyError):
                svm.write(5, b"late")  # the view is gone, and its overlay
        left = stack.image("secondary").read_bytes()
        assert left == (latest if keep_latest else at_checkpoint)
        with pytest.raises(grpc.RpcError) as refusal:
            stack.failover()
        why = "no committed checkpoint" if keep_latest else "fail over with force"
        assert why in str(refusal.value.details())
        stack.start("primary")
        stack.resume()
        stack.wait_state(PROTECTED)
        stack.checkpoint()
        assert stack.image("secondary").read_bytes() == latest


def test_a_start_that_comes_behind_a_stop_is_refused(tmp_path: Path) -> None:
    """In one generation: a call that was held up by the network undoes no stop."""
    with running(tmp_path) as stack:
        stack.checkpoint()
        seen = stack.primary_status()
        stop(stack, keep_latest=True)
        late = primary_pb2.StartReplicationRequest(
            group="vm1",
            generation=seen.generation,
            secondary_address=stack.address("secondary"),
            stop_mark=seen.stop_mark,
        )
        with pytest.raises(grpc.RpcError) as refusal:
            stack.primary.StartReplication(late, timeout=10)
        assert refusal.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert "before replication was stopped" in str(refusal.value.details())
        status = stack.primary_status()
        assert status.generation == seen.generation
        assert status.state == types_pb2.FORWARD_STATE_IDLE
        stopped = types_pb2.REPLICA_STATE_STOPPED
        assert stack.secondary_status().state == stopped
        stack.resume()
        stack.wait_state(PROTECTED)
