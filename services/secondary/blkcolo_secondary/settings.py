"""The secondary's options."""

from __future__ import annotations

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from blkcolo.addresses import Address
from blkcolo.settings import (
    ByteSize,
    GrpcSettings,
    MetricsSettings,
    Name,
    NbdSettings,
    Section,
    ServiceSettings,
    VolumeSettings,
    check_unique,
)


class GroupSettings(Section):
    """The volumes of one VM."""

    name: Name
    """The group's name, equal on all services."""
    volumes: list[VolumeSettings] = Field(min_length=1)
    """Its disks, in the same order as on the primary."""
    secondary_vm: bool = False
    """True where a Secondary VM runs on the view and writes to it (COLO)."""
    queue_bytes: ByteSize = Field(32 << 20, ge=1 << 20)
    """Bound of what is received and not yet applied; bounds memory."""


class SecondarySettings(ServiceSettings):
    """Everything that `blkcolo secondary` can be told."""

    model_config = SettingsConfigDict(env_prefix="BLKCOLO_SECONDARY_")

    grpc: GrpcSettings = GrpcSettings(listen=Address("127.0.0.1", 7402))
    """The gRPC server."""
    nbd: NbdSettings = NbdSettings(listen=Address("127.0.0.1", 10810))
    """The NBD server."""
    metrics: MetricsSettings = MetricsSettings(listen=Address("127.0.0.1", 9402))
    """The Prometheus endpoint."""
    groups: list[GroupSettings] = Field(min_length=1)
    """The groups that it serves."""

    @field_validator("groups")
    @classmethod
    def _unique(cls, groups: list[GroupSettings]) -> list[GroupSettings]:
        check_unique("group", [group.name for group in groups])
        check_unique("volume", [v.name for group in groups for v in group.volumes])
        return groups
