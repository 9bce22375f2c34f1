"""One reprotect, step by step: values in, the next step out.

    ASK_BOTH -> RAISE_GENERATION -> DEMOTE -> PROMOTE -> FINISH

After a failover the survivor serves the VM, and the old primary is fenced. The run
makes the loser, the old primary as a rule, the secondary of the other side. Nothing
is overwritten before both sides answered, and the loser was named where it holds
writes that the other one does not. Once the decision is stored with the raised
generation the run is driven to its end: begun anew at any point, by another process
as well, it finds by the roles of both sides what is done.

Where the survivor is the loser it is demoted, and the old primary starts again in the
newer generation: nobody is promoted, and the roles stay.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blkcolo.errors import BlkcoloError, Reason, Refused
from blkcolo.roles import Role
from blkcolo_coordinator.runs.roles import Side

if TYPE_CHECKING:
    from blkcolo_coordinator.runs.roles import Cost, NodeView


class Step(enum.Enum):
    """What is to be done next."""

    ASK_BOTH = "ask_both"
    RAISE_GENERATION = "raise_generation"
    DEMOTE = "demote"
    PROMOTE = "promote"
    FINISH = "finish"


@dataclass
class ReprotectRun:
    """The progress of one reprotect.

    Attributes:
        group: its name.
        loser: the side that is demoted.
        named: somebody said that its writes may be given up.
        ordered: the decision is stored: the run must be driven to its end.
        step: what is to be done next; None at the end.
        error: why it ended before that.
    """

    group: str
    loser: Side = Side.PRIMARY
    named: bool = False
    ordered: bool = False
    step: Step | None = Step.ASK_BOTH
    error: BlkcoloError | None = None

    def both_answered(
        self, old_primary: NodeView, survivor: NodeView, cost: Cost
    ) -> None:
        """What both sides say of themselves, and what going on would cost."""
        demoted, waiting = old_primary.role is Role.SECONDARY, survivor
        if self.loser is Side.SECONDARY:
            demoted = survivor.role is Role.SECONDARY and not survivor.failed_over
            waiting = old_primary
        if demoted and self.ordered:
            promoted = waiting.role is Role.PRIMARY
            self.step = Step.FINISH if promoted else Step.PROMOTE
        elif survivor.role is Role.PRIMARY or not survivor.failed_over:
            self.fail(self._not_failed_over(survivor))
        elif survivor.flush_remaining:
            self.fail(self._flushing(survivor))
        elif not self.ordered and not self.named and cost.lost_bytes:
            self.fail(self._unnamed(cost))
        else:
            self.step = Step.DEMOTE if self.ordered else Step.RAISE_GENERATION

    def _not_failed_over(self, survivor: NodeView) -> Refused:
        return Refused(
            Reason.WRONG_STATE,
            f"group {self.group}: {survivor.address} is {survivor.role.word} and was"
            " not failed over; a reprotect follows a failover",
        )

    def _flushing(self, survivor: NodeView) -> Refused:
        return Refused(
            Reason.WRONG_STATE,
            f"group {self.group}: {survivor.flush_remaining} bytes are still to be"
            f" flushed on {survivor.address}; wait for that, then reprotect",
        )

    def _unnamed(self, cost: Cost) -> Refused:
        side = self.loser.word
        return Refused(
            Reason.WRONG_STATE,
            f"group {self.group}: the {side} {cost.address} holds up to"
            f" {cost.lost_bytes} bytes, written in up to {cost.seconds:.1f} s, that"
            " are in no checkpoint; to give them up, repeat with"
            f" --discard {side} (until the next checkpoint they can be brought back)",
        )

    def generation_raised(self) -> None:
        """The decision and the new generation are stored."""
        self.ordered, self.step = True, Step.DEMOTE

    def demoted(self) -> None:
        """The loser is secondary."""
        loses = self.loser is Side.PRIMARY
        self.step = Step.PROMOTE if loses else Step.FINISH

    def promoted(self) -> None:
        """The survivor is primary."""
        self.step = Step.FINISH

    def finished(self) -> None:
        """The roles are stored."""
        self.step = None

    def fail(self, error: BlkcoloError) -> None:
        """The run ends here; where it is ordered, another one goes on."""
        self.step, self.error = None, error
