"""All that is known of a group when somebody asks what a verb needs; see `explain`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from blkcolo.errors import Reason

if TYPE_CHECKING:
    from blkcolo_coordinator.core.group_state import GroupState
    from blkcolo_coordinator.core.seen import PrimarySeen, SecondarySeen


@dataclass(frozen=True)
class Facts:
    """All that the conditions rest on.

    Attributes:
        group: its name.
        state: as recorded.
        reversed: the roles are not those of the configuration.
        primary_address: where the primary is now.
        secondary_address: where the secondary is now.
        primary: what it says; None: it does not answer.
        secondary: likewise.
        primary_error: why the primary does not answer.
        secondary_error: likewise.
        failure: why the group is not protected; UNSPECIFIED where that is not known.
        failure_message: the whole sentence of that.
        lost_bytes: what a reprotect would give up; None: not known.
        lost_seconds: likewise.
        fenced_before: a switchover's fence was answered: it holds without another.
    """

    group: str
    state: GroupState
    reversed: bool = False
    primary_address: str = ""
    secondary_address: str = ""
    primary: PrimarySeen | None = None
    secondary: SecondarySeen | None = None
    primary_error: str = ""
    secondary_error: str = ""
    failure: Reason = Reason.UNSPECIFIED
    failure_message: str = ""
    lost_bytes: int | None = None
    lost_seconds: float = 0.0
    fenced_before: bool = False
