"""The two nodes of a group, by the roles that they are in."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from blkcolo.addresses import Address
from blkcolo_coordinator.peers import node_views
from blkcolo_coordinator.peers.grpc_peers import NodePeer, PrimaryPeer, SecondaryPeer

if TYPE_CHECKING:
    from blkcolo.v1.primary_pb2 import ForwardStatus
    from blkcolo_coordinator.core.group_record import GroupRecord
    from blkcolo_coordinator.peers.node_channel import NodeChannels
    from blkcolo_coordinator.runs.roles import NodeView


class _Node(NamedTuple):
    """One node: whichever role it is in, only those calls are made."""

    address: str
    node: NodePeer
    primary: PrimaryPeer
    secondary: SecondaryPeer


class Pair:
    """Both nodes of one group."""

    def __init__(
        self, record: GroupRecord, timeout: float, channels: NodeChannels
    ) -> None:
        """Opens channels to both; `timeout` in seconds holds for each call.

        Raises:
            Refused: one of them would be plain text beyond this machine; no channel
                was opened.
        """
        self._channels = channels
        addresses = record.primary_now, record.secondary_now
        for address in addresses:
            channels.check(Address.parse(address))
        self._nodes = [
            _open(record.name, address, timeout, channels) for address in addresses
        ]

    def swap(self) -> None:
        """The roles are changed."""
        self._nodes.reverse()

    @property
    def primary(self) -> PrimaryPeer:
        """The primary, for what a primary does."""
        return self._nodes[0].primary

    @property
    def secondary(self) -> SecondaryPeer:
        """The secondary, for what a secondary does."""
        return self._nodes[1].secondary

    @property
    def primary_node(self) -> NodePeer:
        """The node that is primary by the record."""
        return self._nodes[0].node

    @property
    def secondary_node(self) -> NodePeer:
        """The node that is secondary by the record."""
        return self._nodes[1].node

    @property
    def primary_address(self) -> str:
        """Where the primary is."""
        return self._nodes[0].address

    @property
    def secondary_address(self) -> str:
        """Where the secondary is."""
        return self._nodes[1].address

    async def views(self) -> tuple[NodeView, NodeView]:
        """What the primary and the secondary say of themselves, whatever their roles.

        Raises:
            BlkcoloError: one of them does not answer.
        """
        asked = [node_views.view(*node) for node in self._nodes]
        primary, secondary = await asyncio.gather(*asked)
        return primary, secondary

    def view_of_primary(self, status: ForwardStatus) -> NodeView:
        """What the primary has said of itself."""
        return node_views.of_primary(self.primary_address, status)

    async def close(self) -> None:
        """Calls neither any more; one that cannot be closed leaves the other to be."""
        await asyncio.gather(
            *(self._channels.release(Address.parse(n.address)) for n in self._nodes)
        )


def _open(group: str, address: str, timeout: float, channels: NodeChannels) -> _Node:
    parsed = Address.parse(address)
    channel = channels.open(parsed)
    return _Node(
        address,
        NodePeer(group, parsed, timeout, channel),
        PrimaryPeer(group, parsed, timeout, channel),
        SecondaryPeer(group, parsed, timeout, channel),
    )
