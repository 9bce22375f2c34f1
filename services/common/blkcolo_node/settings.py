"""The options of a node, as `blkcolo primary` and `blkcolo secondary` read them.

The command says which role a group starts in that has never changed it, and the
default ports. Options of the other role are in a section of their own, in force once
the group has changed its role.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from blkcolo.addresses import Address
from blkcolo.process.settings import (
    GrpcSettings,
    MetricsSettings,
    Name,
    NbdSettings,
    ServiceSettings,
    VolumeSettings,
    check_unique,
)
from blkcolo.roles import Role
from blkcolo_primary.settings import ForwardSettings
from blkcolo_secondary.settings import ReplicaSettings

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class GroupOptions:
    """One group: its disks, and how it behaves in either role."""

    name: str
    volumes: Sequence[VolumeSettings]
    forward: ForwardSettings
    replica: ReplicaSettings


class PrimaryGroupSettings(ForwardSettings):
    """The volumes of one VM."""

    name: Name
    """The group's name, equal on all services."""
    volumes: list[VolumeSettings] = Field(min_length=1)
    """Its disks, in the same order as on the secondary."""
    as_secondary: ReplicaSettings = ReplicaSettings()
    """Options of a secondary, for when the group has changed its role."""

    @property
    def options(self) -> GroupOptions:
        """The same, whichever the role."""
        return GroupOptions(self.name, self.volumes, self, self.as_secondary)


class SecondaryGroupSettings(ReplicaSettings):
    """The volumes of one VM."""

    name: Name
    """The group's name, equal on all services."""
    volumes: list[VolumeSettings] = Field(min_length=1)
    """Its disks, in the same order as on the primary."""
    as_primary: ForwardSettings = ForwardSettings()
    """Options of a primary, for when the group has changed its role."""

    @property
    def options(self) -> GroupOptions:
        """The same, whichever the role."""
        return GroupOptions(self.name, self.volumes, self.as_primary, self)


class PrimarySettings(ServiceSettings):
    """Everything that `blkcolo primary` can be told."""

    model_config = SettingsConfigDict(env_prefix="BLKCOLO_PRIMARY_")

    grpc: GrpcSettings = GrpcSettings(listen=Address("127.0.0.1", 7401))
    """The gRPC server."""
    nbd: NbdSettings = NbdSettings(listen=Address("127.0.0.1", 10809))
    """The NBD server."""
    metrics: MetricsSettings = MetricsSettings(listen=Address("127.0.0.1", 9401))
    """The Prometheus endpoint."""
    groups: list[PrimaryGroupSettings] = Field(min_length=1)
    """The groups that it serves."""

    @property
    def first_role(self) -> Role:
        """The role of a group that has never changed it."""
        return Role.PRIMARY

    @field_validator("groups")
    @classmethod
    def _unique(cls, groups: list[PrimaryGroupSettings]) -> list[PrimaryGroupSettings]:
        _check_names([group.options for group in groups])
        return groups


class SecondarySettings(ServiceSettings):
    """Everything that `blkcolo secondary` can be told."""

    model_config = SettingsConfigDict(env_prefix="BLKCOLO_SECONDARY_")

    grpc: GrpcSettings = GrpcSettings(listen=Address("127.0.0.1", 7402))
    """The gRPC server."""
    nbd: NbdSettings = NbdSettings(listen=Address("127.0.0.1", 10810))
    """The NBD server."""
    metrics: MetricsSettings = MetricsSettings(listen=Address("127.0.0.1", 9402))
    """The Prometheus endpoint."""
    groups: list[SecondaryGroupSettings] = Field(min_length=1)
    """The groups that it serves."""

    @property
    def first_role(self) -> Role:
        """The role of a group that has never changed it."""
        return Role.SECONDARY

    @field_validator("groups")
    @classmethod
    def _unique(
        cls, groups: list[SecondaryGroupSettings]
    ) -> list[SecondaryGroupSettings]:
        _check_names([group.options for group in groups])
        return groups


NodeSettings = PrimarySettings | SecondarySettings


def _check_names(groups: Sequence[GroupOptions]) -> None:
    check_unique("group", [group.name for group in groups])
    check_unique("volume", [v.name for group in groups for v in group.volumes])
