"""The primary's options."""

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


class GroupSettings(Section):
    """The volumes of one VM."""

    name: Name
    """The group's name, equal on all services."""
    volumes: list[VolumeSettings] = Field(min_length=1)
    """Its disks, in the same order as on the secondary."""
    ack_policy: Literal["async", "received", "applied"] = "async"
    """When a VM write is answered: after the local write, when the secondary holds it
    in memory, or when it is on the secondary's disk. Later is slower and loses less."""
    window_bytes: ByteSize = Field(32 << 20, ge=1 << 20)
    """Bytes in flight to the secondary; bounds memory and what a lost link loses."""
    batch_bytes: ByteSize = Field(1 << 20, ge=4096, le=4 << 20)
    """Data in one message; larger is more throughput, smaller less delay."""
    on_congestion: Literal["throttle", "detach"] = "throttle"
    """When the window is full: let the VM wait, or go on unprotected."""
    on_disconnect: Literal["continue", "freeze"] = "continue"
    """When the link is lost: let the VM write on unprotected, or let it wait."""
    durability: Literal["process", "host"] = "process"
    """What the intent log survives: the death of the service, or power loss, too."""
    region_size: ByteSize | None = Field(None, ge=4096)
    """What a bit of the intent log stands for, a power of two; by default 64 KiB, and
    more where a volume is larger than 64 GiB. Smaller resends less after a cut link."""
    link_timeout_seconds: float = Field(8.0, gt=0)
    """A secondary that makes no progress for this long counts as lost."""

    @field_validator("region_size")
    @classmethod
    def _power_of_two(cls, size: int | None) -> int | None:
        if size is not None and size & (size - 1):
            raise ValueError(f"{size} is no power of two; give 64K, 128K, ...")
        return size


class PrimarySettings(ServiceSettings):
    """Everything that `blkcolo primary` can be told."""

    model_config = SettingsConfigDict(env_prefix="BLKCOLO_PRIMARY_")

    grpc: GrpcSettings = GrpcSettings(listen=Address("127.0.0.1", 7401))
    """The gRPC server."""
    nbd: NbdSettings = NbdSettings(listen=Address("127.0.0.1", 10809))
    """The NBD server."""
    metrics: MetricsSettings = MetricsSettings(listen=Address("127.0.0.1", 9401))
    """The Prometheus endpoint."""
    groups: list[GroupSettings] = Field(min_length=1)
    """The groups that it serves."""

    @field_validator("groups")
    @classmethod
    def _unique(cls, groups: list[GroupSettings]) -> list[GroupSettings]:
        check_unique("group", [group.name for group in groups])
        check_unique("volume", [v.name for group in groups for v in group.volumes])
        return groups
