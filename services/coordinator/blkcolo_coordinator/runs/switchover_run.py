"""One switchover, step by step: values in, the next step out.

    HOLD -> CHECKPOINT -> RAISE_GENERATION -> FENCE -> STOP_SECONDARY

VM writes are held, so that the last checkpoint has all that was ever answered. The
hold ends by itself, whatever dies. The fence is refused unless it is still in force
and nothing was written behind that checkpoint; so a fence that was answered is the
proof that nothing is lost, and it is stored. From there on the run is a failover
that goes on, then a reprotect with nothing to discard.

    before the generation is raised    any failure releases the hold; nothing changed
    the fence was refused              the old roles go on, in the newer generation
    nobody knows whether it holds      the primary is asked until it answers
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blkcolo.errors import DeadlineMissed, Unavailable

if TYPE_CHECKING:
    from blkcolo.errors import BlkcoloError
    from blkcolo_coordinator.runs.roles import NodeView


class Step(enum.Enum):
    """What is to be done next."""

    HOLD = "hold"
    CHECKPOINT = "checkpoint"
    RAISE_GENERATION = "raise_generation"
    FENCE = "fence"
    STOP_SECONDARY = "stop_secondary"


@dataclass
class SwitchoverRun:
    """The progress of one switchover.

    Attributes:
        group: its name.
        step: what is to be done next; None at the end.
        epoch: the last checkpoint; set by `checkpointed`.
        error: why it ended.
        aborted: the old roles go on; False with an error: another run goes on.
    """

    group: str
    step: Step | None = Step.HOLD
    epoch: int = 0
    error: BlkcoloError | None = None
    aborted: bool = False

    @classmethod
    def resumed(
        cls, group: str, generation: int, *, fenced: bool, primary: NodeView | None
    ) -> SwitchoverRun:
        """Goes on behind RAISE_GENERATION, as a new coordinator does.

        Args:
            group: its name.
            generation: the raised one.
            fenced: the fence was answered, and that is stored.
            primary: what the primary says; None: it does not answer.
        """
        run = cls(group, None)
        if fenced:
            run.step = Step.STOP_SECONDARY
        elif primary is None:
            pass  # it is asked again
        elif primary.fenced and primary.generation == generation:
            run.fenced()
        else:
            run.aborted = True
        return run

    def held(self) -> None:
        """VM writes wait."""
        self.step = Step.CHECKPOINT

    def checkpointed(self, epoch: int) -> None:
        """All that was answered is in this checkpoint."""
        self.epoch, self.step = epoch, Step.RAISE_GENERATION

    def generation_raised(self) -> None:
        """The new generation is stored."""
        self.step = Step.FENCE

    def fenced(self) -> None:
        """The primary refuses VM writes, and had none behind the checkpoint."""
        self.step = Step.STOP_SECONDARY

    def stopped(self) -> None:
        """The secondary's disk is the VM's disk."""
        self.step = None

    def fail(self, error: BlkcoloError) -> None:
        """The step failed."""
        ended, self.step, self.error = self.step, None, error
        unknown = isinstance(error, (Unavailable, DeadlineMissed))
        self.aborted = ended in _BEFORE_THE_FENCE or (
            ended is Step.FENCE and not unknown
        )


_BEFORE_THE_FENCE = (Step.HOLD, Step.CHECKPOINT, Step.RAISE_GENERATION)
