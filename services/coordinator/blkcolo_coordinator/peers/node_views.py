"""What both nodes of a group say of themselves, in whichever role they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blkcolo.roles import Role
from blkcolo.v1 import types_pb2
from blkcolo_coordinator.runs.roles import NodeView

if TYPE_CHECKING:
    from collections.abc import Iterable

    from blkcolo.v1.primary_pb2 import ForwardStatus
    from blkcolo.v1.secondary_pb2 import ReplicaStatus
    from blkcolo_coordinator.peers.grpc_peers import (
        NodePeer,
        PrimaryPeer,
        SecondaryPeer,
    )

FAILED_OVER = (
    types_pb2.REPLICA_STATE_FAILING_OVER,
    types_pb2.REPLICA_STATE_FAILED_OVER,
)


async def view(
    address: str, node: NodePeer, primary: PrimaryPeer, secondary: SecondaryPeer
) -> NodeView:
    """Asks one node for its role, and then for what it says in it.

    Raises:
        BlkcoloError: it does not answer.
    """
    role = await node.role()
    if role.role == types_pb2.ROLE_PRIMARY:
        return of_primary(address, await primary.status())
    return of_secondary(address, await secondary.status())


def of_primary(address: str, status: ForwardStatus) -> NodeView:
    """A node in the primary's role."""
    return NodeView(
        address,
        Role.PRIMARY,
        status.generation,
        _size(status.volumes),
        status.dirty_bytes if status.HasField("dirty_bytes") else None,
        fenced=status.state == types_pb2.FORWARD_STATE_FENCED,
        last_write_at=status.last_write_timestamp_seconds,
    )


def of_secondary(address: str, status: ReplicaStatus) -> NodeView:
    """A node in the secondary's role."""
    flushing = status.state == types_pb2.REPLICA_STATE_FAILING_OVER
    return NodeView(
        address,
        Role.SECONDARY,
        status.generation,
        _size(status.volumes),
        status.dirty_bytes if status.HasField("dirty_bytes") else None,
        failed_over=status.state in FAILED_OVER,
        flush_remaining=max(status.flush_remaining_bytes, 1) if flushing else 0,
    )


def _size(volumes: Iterable[types_pb2.Volume]) -> int:
    return sum(volume.size_bytes for volume in volumes)
