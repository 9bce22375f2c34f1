"""A group's state as the wire reports it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from blkcolo.rpc.errors import failure_message
from blkcolo.rpc.stream_on_wire import encode_volume
from blkcolo.v1 import secondary_pb2 as pb
from blkcolo.v1 import types_pb2
from blkcolo_secondary.checkpoint_export import checkpoint_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from blkcolo_secondary.core.replica import Replica
    from blkcolo_secondary.core.replica_state import ReplicaState
    from blkcolo_secondary.runtime.group import ReplicaGroup


def state_message(state: ReplicaState) -> types_pb2.ReplicaState.ValueType:
    """The wire's number of a state; they are equal."""
    return cast("types_pb2.ReplicaState.ValueType", int(state))


def report(group: ReplicaGroup, nbd_uri: Callable[[str], str]) -> pb.ReplicaStatus:
    """Everything that GetStatus says of a group."""
    replica, stream = group.replica, group.replica.reception.stream
    sealed = stream.sealed if stream is not None and stream.verified else []
    status = pb.ReplicaStatus(
        group=replica.group,
        state=state_message(replica.state),
        generation=replica.generation,
        committed_epoch=replica.shown,
        prepared_epoch=sealed[-1].epoch if sealed else None,
        epoch=stream.epoch if stream is not None else replica.journal.state.epoch,
        received_seq=stream.received if stream is not None else 0,
        applied_seq=stream.applied if stream is not None else 0,
        buffer_bytes=replica.buffer.buffer_bytes,
        overlay_bytes=replica.buffer.overlays.bytes_held,
        volumes=[encode_volume(volume) for volume in replica.volumes],
        secondary_vm=group.secondary_vm,
        nbd_uris=[nbd_uri(volume.name) for volume in replica.volumes],
        flush_remaining_bytes=group.flush.remaining_bytes,
        flush_total_bytes=group.flush.total_bytes if replica.flushing else 0,
        buffer_limit_bytes=replica.options.buffer_limit_bytes,
        history_bytes=replica.buffer.history_bytes,
        replica_id=replica.journal.state.replica_id,
        buffer_full=replica.reception.buffer_full,
        dirty_bytes=replica.dirty_bytes,
        discarded=replica.journal.state.discarded,
    )
    if replica.failure is not None:
        status.failure.CopyFrom(failure_message(replica.failure))
    return status


def checkpoint_entries(
    replica: Replica, nbd_uri: Callable[[str], str]
) -> list[pb.CheckpointEntry]:
    """The checkpoints that failover can lead to, newest first."""
    entries: list[pb.CheckpointEntry] = []
    newer: int | None = None
    for checkpoint in reversed(replica.checkpoints.available):
        entry = pb.CheckpointEntry(
            epoch=checkpoint.epoch,
            committed_timestamp_seconds=checkpoint.committed_at,
        )
        if newer is not None:
            entry.undo_bytes = replica.buffer.layers.bytes_held(checkpoint.epoch, newer)
            names = (checkpoint_name(v.name, checkpoint.epoch) for v in replica.volumes)
            entry.nbd_uris.extend(nbd_uri(name) for name in names)
        newer = checkpoint.epoch
        entries.append(entry)
    return entries
