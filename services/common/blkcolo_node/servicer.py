"""NodeService on the wire: decode, call, encode."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from blkcolo.errors import Invalid, Reason
from blkcolo.v1 import node_pb2 as pb
from blkcolo.v1 import node_pb2_grpc as rpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from blkcolo.rpc.context import Context
    from blkcolo.v1 import types_pb2
    from blkcolo_node.many_calls import ManyCalls
    from blkcolo_node.node_group import NodeGroup


class NodeServicer(rpc.NodeServiceServicer):
    """Changes the roles of this node's groups."""

    def __init__(self, groups: Mapping[str, NodeGroup], many: ManyCalls) -> None:
        """Takes the groups, and what carries several calls out."""
        self._groups = groups
        self._many = many

    def _group(self, name: str) -> NodeGroup:
        group = self._groups.get(name)
        if group is None:
            known = ", ".join(self._groups) or "none"
            raise Invalid(
                Reason.WRONG_GROUP,
                f"no group {name!r} on this node (it has: {known});"
                " check the name and the address",
            )
        return group

    async def Demote(
        self,
        request: pb.DemoteRequest,
        context: Context,  # noqa: ARG002 - gRPC's signature
    ) -> pb.DemoteResponse:
        """Makes a group secondary."""
        group = self._group(request.group)
        await group.demote(request.generation)
        return pb.DemoteResponse(generation=group.generation)

    async def Promote(
        self,
        request: pb.PromoteRequest,
        context: Context,  # noqa: ARG002 - gRPC's signature
    ) -> pb.PromoteResponse:
        """Makes a group primary."""
        group = self._group(request.group)
        await group.promote(request.generation)
        return pb.PromoteResponse(generation=group.generation)

    async def GetRoles(
        self,
        request: pb.GetRolesRequest,
        context: Context,  # noqa: ARG002 - gRPC's signature
    ) -> pb.GetRolesResponse:
        """Reports one group, or all."""
        one = [self._group(request.group)] if request.group else None
        return pb.GetRolesResponse(
            groups=[_report(group) for group in one or self._groups.values()]
        )

    async def CallMany(
        self, request: pb.CallManyRequest, context: Context
    ) -> AsyncIterator[pb.CallManyResponse]:
        """Answers the calls of several groups, each in its own time."""
        async for answers in self._many.answers(request, context):
            yield answers


def _report(group: NodeGroup) -> pb.GroupRole:
    return pb.GroupRole(
        group=group.name,
        role=cast("types_pb2.Role.ValueType", int(group.role)),
        generation=group.generation,
    )
