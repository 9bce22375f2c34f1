"""What a node reports of its groups in whichever role: the role, and the volumes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from blkcolo.roles import Role

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prometheus_client.core import Metric

    from blkcolo_node.node_group import NodeGroup


class NodeCollector(Collector):
    """Turns the groups of a node into samples."""

    def __init__(self, groups: Mapping[str, NodeGroup]) -> None:
        """Takes the groups."""
        self._groups = groups

    def collect(self) -> Iterable[Metric]:
        """Yields both families."""
        roles = GaugeMetricFamily(
            "blkcolo_node_role",
            "1 for the role that the node plays for the group.",
            labels=["group", "role"],
        )
        sizes = GaugeMetricFamily(
            "blkcolo_node_volume_size_bytes",
            "The volume's size; it grows, and never shrinks.",
            labels=["group", "volume"],
        )
        for name, group in list(self._groups.items()):
            for role in Role:
                roles.add_metric([name, role.word], float(group.role is role))
            for volume in group.volumes:
                sizes.add_metric([name, volume.name], volume.size)
        yield from (roles, sizes)
