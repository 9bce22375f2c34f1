"""The statuses of both sides as the plain values of `seen`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blkcolo.errors import Reason
from blkcolo.rpc.errors import failure_from
from blkcolo.v1 import types_pb2
from blkcolo_coordinator.core.seen import PrimarySeen, SecondarySeen

if TYPE_CHECKING:
    from blkcolo.v1.primary_pb2 import ForwardStatus, VerifyReport
    from blkcolo.v1.secondary_pb2 import ReplicaStatus


def primary_seen(status: ForwardStatus | None) -> PrimarySeen | None:
    """What the primary says; None for one that did not answer."""
    if status is None:
        return None
    reason, message = _failure(status)
    verify = status.verify
    return PrimarySeen(
        _word(types_pb2.ForwardState.Name(status.state), "FORWARD_STATE_"),
        reason,
        message,
        _word(types_pb2.ResyncPlan.Name(status.resync_plan), "RESYNC_PLAN_"),
        status.resync_done_bytes,
        status.resync_total_bytes,
        status.resync_eta_seconds if status.HasField("resync_eta_seconds") else None,
        verify.number,
        verify.complete or verify.HasField("failure"),
        verify.differing_bytes,
        _first(verify),
    )


def secondary_seen(status: ReplicaStatus | None) -> SecondarySeen | None:
    """What the secondary says; None for one that did not answer."""
    if status is None:
        return None
    reason, message = _failure(status)
    return SecondarySeen(
        _word(types_pb2.ReplicaState.Name(status.state), "REPLICA_STATE_"),
        status.committed_epoch if status.HasField("committed_epoch") else None,
        reason,
        message,
        status.flush_remaining_bytes,
        status.flush_total_bytes,
        status.discarded,
    )


def _word(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower()


def _failure(status: ForwardStatus | ReplicaStatus) -> tuple[Reason, str]:
    if not status.HasField("failure"):
        return Reason.UNSPECIFIED, ""
    failure = failure_from(status.failure)
    return failure.reason, failure.message


def _first(verify: VerifyReport) -> str:
    if not verify.differing:
        return ""
    return f"{verify.differing[0].volume} at {verify.differing[0].offset}"
