"""One group of a node: its disks, and the role that it plays with them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from blkcolo.errors import BlkcoloError
from blkcolo.roles import Role
from blkcolo_node import role_change, role_file
from blkcolo_node.group_disks import GroupDisks
from blkcolo_node.open_role import as_primary, as_secondary
from blkcolo_node.volume_export import VolumeExport
from blkcolo_primary.export import DiskExport
from blkcolo_secondary.view_export import ViewExport

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from blkcolo.nbd.export import Export
    from blkcolo.rpc.client import Dialer
    from blkcolo.stream import VolumeId
    from blkcolo_node.settings import GroupOptions
    from blkcolo_primary.runtime.group import ForwardGroup
    from blkcolo_secondary.runtime.group import ReplicaGroup

_log = structlog.get_logger(__name__)

#: Seconds given to writes that the secondary has not applied yet.
_DRAIN = 5.0


class NodeGroup:
    """One group; exactly one of `forward` and `replica` is there."""

    def __init__(
        self, options: GroupOptions, path: Path, first: Role, dialer: Dialer
    ) -> None:
        """Opens the disks and goes on in the role that the folder says.

        Args:
            options: what the configuration says.
            path: the folder of all groups.
            first: the role of a group that has never changed it.
            dialer: reaches other nodes.

        Raises:
            BlkcoloError: a disk or a state file cannot be used.
        """
        self.name = options.name
        self.forward: ForwardGroup | None = None
        self.replica: ReplicaGroup | None = None
        self._options = options
        self._dialer = dialer
        self._replica_path = path / options.name
        self._changing = asyncio.Lock()
        self._disks = GroupDisks(options, path)
        try:
            self.role = role_file.load(self._disks.folder, self.name, first)
            self.exports = [VolumeExport(played) for played in self._play()]
        except BaseException:
            self._disks.close()
            raise

    @property
    def volumes(self) -> Sequence[VolumeId]:
        """The volumes, in the order of the configuration."""
        return self._disks.volumes

    def _play(self) -> list[Export]:
        """Opens what plays the role in force; its exports, one a volume."""
        if self.role is Role.PRIMARY:
            self.forward = self._open_forward()
            return self._disk_exports(self.forward)
        self.replica = self._open_replica()
        return self._view_exports(self.replica)

    def _open_forward(self) -> ForwardGroup:
        return as_primary(self._options, self._disks, self._dialer)

    def _open_replica(self) -> ReplicaGroup:
        return as_secondary(self._options, self._disks, self._replica_path)

    def _disk_exports(self, forward: ForwardGroup) -> list[Export]:
        return [
            DiskExport(forward, index, image)
            for index, image in enumerate(self._disks.images)
        ]

    def _view_exports(self, replica: ReplicaGroup) -> list[Export]:
        return [ViewExport(replica, index) for index in range(len(self.volumes))]

    def start(self) -> None:
        """Goes on with what an earlier run left unfinished."""
        if self.replica is not None:
            self.replica.start()

    @property
    def generation(self) -> int:
        """The newest known generation."""
        if self.forward is not None:
            return self.forward.core.generation
        return self.replica.replica.generation if self.replica is not None else 0

    # Changes of role. NBD clients stay: their exports change under them.

    async def demote(self, generation: int) -> None:
        """Makes this the secondary; what the disk holds can be brought back.

        Answers the same when repeated.

        Raises:
            BlkcoloError: the generation, the state or the disk does not allow it;
                calling again goes on.
        """
        async with self._changing:
            if self.replica is not None:
                role_change.demote_again(self.replica.replica, generation)
                self.replica.changed.fire()
            elif self.forward is not None:
                await self._demote(self.forward, generation)

    async def _demote(self, forward: ForwardGroup, generation: int) -> None:
        if role_change.needs_fence(forward.core, generation):
            await forward.fence(generation)
        replica = self._open_replica()
        try:
            epoch = forward.core.epoch
            role_change.demote(self._disks.folder, replica.replica, generation, epoch)
        except BlkcoloError:
            await replica.close()
            raise
        self.role, self.forward, self.replica = Role.SECONDARY, None, replica
        self._show(self._view_exports(replica))
        replica.start()
        await forward.close(0.0)
        _log.warning("demoted", group=self.name, generation=generation)

    async def promote(self, generation: int) -> None:
        """Makes this the primary: it was failed over, and its flush is complete.

        Answers the same when repeated.

        Raises:
            BlkcoloError: the generation, the state or the disk does not allow it.
        """
        async with self._changing:
            role_change.check_promotion(self.name, self.generation, generation)
            replica = self.replica
            if replica is None:
                return
            replica.check_flushed()
            role_change.promote(self._disks.folder, replica.replica, generation)
            forward = self._open_forward()
            self.role, self.forward, self.replica = Role.PRIMARY, forward, None
            self._show(self._disk_exports(forward))
            await replica.close()
            _log.warning("promoted", group=self.name, generation=generation)

    def _show(self, played: Sequence[Export]) -> None:
        for export, its in zip(self.exports, played, strict=True):
            export.played = its

    async def end_forwarding(self) -> None:
        """Lets the secondary catch up, where this is the primary.

        Looks that wait are answered, in either role: the node stops.

        Raises:
            DeadlineMissed: it did not; everything is closed all the same.
        """
        if self.replica is not None:
            self.replica.end_watch()
        if self.forward is not None:
            await self.forward.close(_DRAIN)

    async def close(self) -> None:
        """Closes everything; `end_forwarding` came before."""
        if self.replica is not None:
            await self.replica.close()
        self._disks.close()
