"""A group's state as the wire reports it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from blkcolo.rpc.errors import failure_message
from blkcolo.rpc.stream_on_wire import encode_volume
from blkcolo.v1 import primary_pb2 as pb
from blkcolo.v1 import types_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

    from blkcolo_primary.core.forward_state import ForwardState
    from blkcolo_primary.core.verification import VerifyPass
    from blkcolo_primary.runtime.group import ForwardGroup


def state_message(state: ForwardState) -> types_pb2.ForwardState.ValueType:
    """The wire's number of a state; they are equal."""
    return cast("types_pb2.ForwardState.ValueType", int(state))


def report(group: ForwardGroup, nbd_uri: Callable[[str], str]) -> pb.ForwardStatus:
    """Everything that GetStatus says of a group."""
    core, stream = group.core, group.core.stream
    policy = f"ACK_POLICY_{group.settings.ack_policy.upper()}"
    status = pb.ForwardStatus(
        group=core.group,
        state=state_message(core.state),
        generation=core.generation,
        epoch=core.epoch,
        committed_epoch=core.standing.committed,
        sent_bytes=core.traffic.sent_bytes,
        sent_bytes_in_epoch=core.traffic.sent_bytes_in_epoch,
        records_in_epoch=stream.outbox.records if stream is not None else 0,
        acked_bytes=core.traffic.acked_bytes,
        in_flight_bytes=core.in_flight_bytes,
        unreplicated_bytes=core.traffic.unreplicated_bytes,
        protected=core.protected,
        resync_done_bytes=stream.resync.done_bytes if stream is not None else 0,
        resync_total_bytes=stream.resync.total_bytes if stream is not None else 0,
        resync_plan=cast("types_pb2.ResyncPlan.ValueType", int(core.plan or 0)),
        resent_bytes=core.traffic.resent_bytes,
        dirty_bytes=core.intent.dirty_bytes,
        throttled=group.vm_writes.throttled,
        last_write_timestamp_seconds=group.vm_writes.last_at,
        volumes=[encode_volume(volume) for volume in group.volumes],
        nbd_uris=[nbd_uri(volume.name) for volume in group.volumes],
        ack_policy=types_pb2.AckPolicy.Value(policy),
        last_verified_checkpoint=group.verify.verified.checkpoint,
        last_verified_timestamp_seconds=group.verify.verified.completed_at,
        warning=group.settings.warning,
        stop_mark=core.standing.stop_mark,
    )
    run = group.streams.resync_run
    if run is not None:
        status.resync_bytes_per_second = run.rate or 0.0
        if run.eta_seconds is not None:
            status.resync_eta_seconds = run.eta_seconds
    if core.verification.current is not None:
        status.verify.CopyFrom(verify_report(group, core.verification.current))
    if core.failure is not None:
        status.failure.CopyFrom(failure_message(core.failure))
    return status


def verify_report(group: ForwardGroup, verified: VerifyPass) -> pb.VerifyReport:
    """One verify pass."""
    report = pb.VerifyReport(
        number=verified.number,
        scrub=verified.scrub,
        complete=verified.complete,
        done_bytes=verified.comparison.done_bytes,
        total_bytes=verified.comparison.total_bytes,
        differing_bytes=verified.comparison.differing_bytes,
        differing=[
            pb.DifferingExtent(
                volume=group.volumes[finding.volume].name,
                offset=finding.extent.offset,
                length=finding.extent.length,
            )
            for finding in verified.findings
        ],
    )
    if verified.failure is not None:
        report.failure.CopyFrom(failure_message(verified.failure))
    return report
