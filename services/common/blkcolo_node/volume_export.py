"""A volume under one NBD name, whichever role its group plays.

The export lives as long as the process and hands every call to the export of the
role in force. So a VM that is connected stays connected when its group is promoted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from blkcolo.nbd.request_metrics import Place
from blkcolo_secondary.checkpoint_export import (
    CheckpointExport,
    checkpoint_name,
    split_name,
)

if TYPE_CHECKING:
    import asyncio

    from blkcolo.nbd.export import AllocationExtent, Export, WriteEach
    from blkcolo_node.node_group import NodeGroup


class VolumeExport:
    """See `blkcolo.nbd.export.Export`."""

    def __init__(self, played: Export) -> None:
        """Takes the export of the role in force; `played` may be replaced."""
        self.played = played

    @property
    def name(self) -> str:
        """The volume's name."""
        return self.played.name

    @property
    def description(self) -> str:
        """A sentence for people."""
        return self.played.description

    @property
    def size(self) -> int:
        """The size in bytes."""
        return self.played.size

    @property
    def read_only(self) -> bool:
        """As the role says."""
        return self.played.read_only

    def opened(self) -> None:
        """A client chose the export; no role wants to know."""

    def closed(self) -> None:
        """It is gone."""

    def admit(self, offset: int, length: int) -> asyncio.Future[None] | None:
        """Flow control; asked again when the Future is done, maybe of a new role."""
        return self.played.admit(offset, length)

    def read_into(self, offset: int, target: memoryview) -> None:
        """Reads."""
        self.played.read_into(offset, target)

    def write(
        self, offset: int, data: memoryview, *, fua: bool
    ) -> asyncio.Future[None] | None:
        """Writes."""
        return self.played.write(offset, data, fua=fua)

    @property
    def write_each(self) -> WriteEach | None:
        """As the role says."""
        return self.played.write_each

    def zero(
        self, offset: int, length: int, *, may_trim: bool, fast: bool, fua: bool
    ) -> asyncio.Future[None] | None:
        """Zeroes."""
        return self.played.zero(offset, length, may_trim=may_trim, fast=fast, fua=fua)

    def trim(
        self, offset: int, length: int, *, fua: bool
    ) -> asyncio.Future[None] | None:
        """Frees."""
        return self.played.trim(offset, length, fua=fua)

    def flush(self) -> asyncio.Future[None] | None:
        """Makes durable what was answered."""
        return self.played.flush()

    def allocation(self, offset: int, length: int) -> list[AllocationExtent]:
        """Describes."""
        return self.played.allocation(offset, length)


class Exports(Mapping[str, "Export"]):
    """All volumes, and `volume@epoch` of every checkpoint that a secondary keeps."""

    def __init__(self) -> None:
        """Offers nothing yet."""
        self._volumes: dict[str, tuple[NodeGroup, int]] = {}

    def add(self, group: NodeGroup) -> None:
        """Offers a group's volumes."""
        for index, volume in enumerate(group.volumes):
            self._volumes[volume.name] = group, index

    def __getitem__(self, name: str) -> Export:
        if name in self._volumes:
            group, index = self._volumes[name]
            return group.exports[index]
        volume, epoch = split_name(name)
        group, index = self._volumes[volume]
        if group.replica is None or epoch not in group.replica.kept_epochs:
            raise KeyError(name)
        return CheckpointExport(group.replica, index, epoch)

    def place_of(self, name: str) -> Place:
        """Whose an export is; a kept checkpoint's are its volume's."""
        volume = name if name in self._volumes else split_name(name)[0]
        return Place(self._volumes[volume][0].name, volume)

    def __iter__(self) -> Iterator[str]:
        yield from self._volumes
        for name, (group, _) in self._volumes.items():
            if group.replica is not None:
                for epoch in group.replica.kept_epochs[:-1]:
                    yield checkpoint_name(name, epoch)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @property
    def volumes(self) -> list[str]:
        """The names of the volumes alone."""
        return list(self._volumes)
