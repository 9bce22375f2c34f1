"""The secondary's options."""

from __future__ import annotations

from typing import Literal

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


class HistorySettings(Section):
    """Which checkpoints are kept besides the last; the oldest go first."""

    keep: int = Field(0, ge=0, le=1000)
    """So many at most; 0 keeps none. Each costs the undo of what came after it."""
    max_age_seconds: float = Field(0.0, ge=0)
    """None that was committed longer ago; 0: whatever their age."""
    max_bytes: ByteSize = Field(0, ge=0)
    """So many undo bytes at most; 0: however many."""


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
    durability: Literal["process", "host"] = "process"
    """What an answered checkpoint survives: the death of the service, or power loss,
    too (fdatasync of undo before data, of data before the commit)."""
    buffer_limit_bytes: ByteSize = Field(16 << 30, ge=0)
    """Undo bytes above the last checkpoint at which VM writes are held up, or the
    primary detaches (its on_congestion); 0: no limit."""
    history: HistorySettings = HistorySettings()
    """Which checkpoints are kept besides the last."""


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
