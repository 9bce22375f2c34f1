"""One failover, step by step: values in, the next step out.

    ASK_SECONDARY -> RAISE_GENERATION -> FENCE_PRIMARY -> STOP_SECONDARY

The secondary is asked first, so that no VM is fenced for nothing. The generation is
stored before anybody hears of it, so that it is never given twice. Where the primary
does not answer the fence, only `force` goes on: nobody else can know that it is dead.
The run can be repeated from the start at any point.

It may be ordered in the middle of a switchover. What the secondary has heard of that,
the stored fence says, which is stored before the secondary is called:

    the fence is not stored   the secondary heard nothing: as from any other state
    the fence is stored       the primary refuses VM writes already, and answered that
                              once: no answer is needed again. The secondary may be
                              failed over: without its answer the old roles cannot go
                              on, so the run goes on until there is one

A secondary that is failed over leads nowhere else. Where another checkpoint is asked
for, a run that nobody has heard of is refused. One that goes on is too late: a stop
that was sent before, by the switchover or by an order that named another checkpoint,
may arrive after the secondary was asked. The run then ends where that stop has led.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blkcolo.errors import BlkcoloError, Reason, Refused

if TYPE_CHECKING:
    from collections.abc import Collection


class Step(enum.Enum):
    """What is to be done next."""

    ASK_SECONDARY = "ask_secondary"
    RAISE_GENERATION = "raise_generation"
    FENCE_PRIMARY = "fence_primary"
    STOP_SECONDARY = "stop_secondary"


def not_held(group: str, epoch: int | None, choice: Collection[int]) -> Refused:
    """The refusal of a checkpoint that failover cannot lead to."""
    return Refused(
        Reason.NO_CHECKPOINT,
        f"group {group}: its secondary does not hold checkpoint {epoch}, it holds"
        f" {', '.join(map(str, sorted(choice))) or 'none'}; name one of these",
        epoch=epoch or 0,
    )


@dataclass
class FailoverRun:
    """The progress of one failover.

    Attributes:
        group: its name.
        force: go on without the primary's answer.
        epoch: the kept checkpoint to lead to; None: the last committed one, or where
            another stop has led already.
        step: what is to be done next; None at the end.
        primary_fenced: the primary answered; from the start, if the fence of a
            switchover is stored.
        error: why it ended without a failover; None if it succeeded.
        ordered: the secondary may have heard of it: it must be driven to its end. Of
            a run that goes on from the store, until the secondary has answered.
        leads_to: the checkpoint that it leads to; set when the secondary answered.
            None: to what the secondary held before it was to be a copy.
        committed_at: when that was committed, if it is an older one.
    """

    group: str
    force: bool
    epoch: int | None = None
    step: Step | None = Step.ASK_SECONDARY
    primary_fenced: bool = False
    error: BlkcoloError | None = None
    ordered: bool = False
    leads_to: int | None = None
    committed_at: float | None = None

    def __post_init__(self) -> None:
        """Behind the fence of a switchover, the secondary may have heard of that."""
        self.ordered = self.ordered or self.primary_fenced

    def secondary_answered(
        self,
        committed: int | None,
        kept: Collection[int],
        *,
        failed_over: bool,
        fenced: bool,
        discarded: bool = False,
        stopped: bool = False,
    ) -> None:
        """What the secondary says of itself.

        Args:
            committed: its last committed checkpoint.
            kept: all checkpoints that it can lead to.
            failed_over: it is failing over, or has.
            fenced: the stored generation was raised for this failover already.
            discarded: it can give back what it held before it was to be a copy.
            stopped: a stop has made it do so.
        """
        goes_on, self.ordered = self.ordered, failed_over
        if committed is None and not failed_over and not (discarded and stopped):
            self.fail(self._nothing_to_lead_to(gives_back=discarded))
            return
        last = set() if committed is None else {committed}
        choice = last if failed_over else kept
        if failed_over and goes_on and self.epoch not in choice:
            self.epoch = None
        self.leads_to = committed if self.epoch is None else self.epoch
        if self.epoch is not None and self.epoch not in choice:
            self.ordered = False
            self.fail(not_held(self.group, self.epoch, choice))
        elif failed_over:
            self.step = Step.FENCE_PRIMARY if fenced else Step.RAISE_GENERATION
        else:
            self.step = Step.RAISE_GENERATION

    def _nothing_to_lead_to(self, *, gives_back: bool) -> Refused:
        text = (
            f"group {self.group} has no committed checkpoint: there is nothing to fail"
            " over to; resume replication and wait for one"
        )
        if gives_back:
            text += (
                f". If the primary is lost, blkcolo stop {self.group} brings back what"
                " the secondary held before it was to be a copy, and a failover with"
                " force serves that"
            )
        return Refused(Reason.NO_CHECKPOINT, text)

    def generation_raised(self) -> None:
        """The new generation is stored."""
        self.step = Step.FENCE_PRIMARY

    def fence_answered(self, error: BlkcoloError | None) -> None:
        """The primary is fenced, or did not say so."""
        self.primary_fenced = self.primary_fenced or error is None
        if error is None or self.primary_fenced or self.force or self.ordered:
            self.step, self.ordered = Step.STOP_SECONDARY, True
            return
        self.fail(
            Refused(
                Reason.NOT_FENCED,
                f"group {self.group}: the primary did not answer the fence ({error});"
                " it may still serve its VM, or be fenced without having said so."
                " Make sure that it is dead, then fail over with force; to go on"
                " without a failover, let it come back",
            )
        )

    def stopped(self) -> None:
        """The secondary's disk is the VM's disk."""
        self.step = None

    def fail(self, error: BlkcoloError) -> None:
        """The run ends here."""
        self.step, self.error = None, error
