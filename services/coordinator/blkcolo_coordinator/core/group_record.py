"""What the coordinator knows of one group, as it is stored."""

from __future__ import annotations

from dataclasses import dataclass, field

from blkcolo_coordinator.core.group_state import GroupState
from blkcolo_coordinator.core.policy import Policy


@dataclass(frozen=True)
class GroupRecord:
    """One group.

    Attributes:
        name: its name.
        primary_address: the side that the configuration calls primary.
        secondary_address: the other one.
        policy: when checkpoints are taken.
        generation: the newest one that was given.
        state: see `group_state`.
        paused: automatic checkpoints are suspended.
        committed: the last committed epoch.
        committed_at: when that was, in seconds since 1970; 0 before the first.
        trigger_name: why it was taken.
        reversed: the roles are not those of the configuration.
        loser: the Side that a reprotect gives up, while one is under way; or 0.
        fenced_clean: the switchover under way, or one that a failover was ordered in,
            fenced the primary, and nothing is lost. Stored before the secondary hears
            of it.
        failed_over_at: when the last failover ended, as `committed_at`.
        failover_to: the checkpoint that the last failover was asked to lead to; at its
            end the one that it led to, if one was named; None: the last committed one.
        failover_forced: it goes on without the primary's answer to a fence.
    """

    name: str
    primary_address: str
    secondary_address: str
    policy: Policy = field(default_factory=Policy)
    generation: int = 1
    state: GroupState = GroupState.STARTING
    paused: bool = False
    committed: int | None = None
    committed_at: float = 0.0
    trigger_name: str = ""
    reversed: bool = False
    loser: int = 0
    fenced_clean: bool = False
    failed_over_at: float = 0.0
    failover_to: int | None = None
    failover_forced: bool = False

    @property
    def primary_now(self) -> str:
        """The primary's address."""
        return self.secondary_address if self.reversed else self.primary_address

    @property
    def secondary_now(self) -> str:
        """The secondary's address."""
        return self.primary_address if self.reversed else self.secondary_address
