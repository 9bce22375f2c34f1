"""The coordinator's options."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from blkcolo.addresses import Address
from blkcolo.process.settings import (
    ByteSize,
    GrpcSettings,
    MetricsSettings,
    Name,
    Section,
    ServiceSettings,
    check_unique,
)


class PolicySettings(Section):
    """When a checkpoint is taken: whatever comes first."""

    sent_bytes: ByteSize = Field(64 << 20, ge=0)
    """Bytes sent since the last checkpoint; 0: never for this reason."""
    buffer_high_water_bytes: ByteSize = Field(256 << 20, ge=0)
    """Bytes in the secondary's Disk Buffer; 0: never for this reason."""
    min_interval_seconds: float = Field(0.05, ge=0)
    """Never sooner after the last one than this."""
    max_interval_seconds: float = Field(1.0, ge=0)
    """Never later after the last one than this, if anything was written since; up to an
    eighth sooner, so that groups are not due at once. 0: never for this reason."""
    rpo_target_seconds: float = Field(5.0, ge=0)
    """The age of the last checkpoint that must not be exceeded, for metrics and
    alerts; 0: no such promise."""

    @model_validator(mode="after")
    def _ordered(self) -> PolicySettings:
        if 0 < self.max_interval_seconds < self.min_interval_seconds:
            raise ValueError(
                "max_interval_seconds must not be below min_interval_seconds"
            )
        return self


class GroupSettings(Section):
    """A pair and its policy."""

    name: Name
    """The group's name, equal on all services."""
    primary: Address
    """The primary's gRPC."""
    secondary: Address
    """The secondary's gRPC, as the primary and the coordinator reach it."""
    policy: PolicySettings = PolicySettings()
    """When a checkpoint is taken."""


class CoordinatorSettings(ServiceSettings):
    """Everything that `blkcolo coordinator` can be told."""

    model_config = SettingsConfigDict(env_prefix="BLKCOLO_COORDINATOR_")

    grpc: GrpcSettings = GrpcSettings(listen=Address("127.0.0.1", 7400))
    """The gRPC server."""
    metrics: MetricsSettings = MetricsSettings(listen=Address("127.0.0.1", 9400))
    """The Prometheus endpoint."""
    groups: list[GroupSettings] = Field(default_factory=list)
    """Groups that exist from the start on; others are created by calls."""
    poll_interval_seconds: float = Field(0.05, gt=0)
    """How late a trigger is seen at most. The two sides of a protected group look for
    one twice in it, and say when it is there; any other group is asked so often."""
    call_timeout_seconds: float = Field(5.0, gt=0)
    """Deadline of a call to a primary or secondary. A side that hangs is noticed by
    then, up to 2 seconds later where it was asked to wait for something to do."""
    prepare_timeout_seconds: float = Field(10.0, gt=0)
    """Deadline of the secondary's prepare: the time it has to catch up."""
    hold_seconds: float = Field(15.0, gt=0, le=60)
    """VM writes wait so long at most while a switchover takes its last checkpoint."""
    stop_timeout_seconds: float = Field(60.0, gt=0)
    """Deadline of a drain or a flush; a call that misses it is repeated."""

    @field_validator("groups")
    @classmethod
    def _unique(cls, groups: list[GroupSettings]) -> list[GroupSettings]:
        check_unique("group", [group.name for group in groups])
        return groups
