"""One two-phase checkpoint, step by step: values in, the next step out.

    PREPARE_PRIMARY -> PREPARE_SECONDARY -> DO_SECONDARY -> DO_PRIMARY

The commit record on the secondary, written by DO_SECONDARY, is the point of no
return. Any failure before it aborts: the epoch's writes join the next one. When the
answer to DO_SECONDARY is lost nobody knows on which side of that point the run is;
the call is idempotent, so it is repeated until its answer comes, a bounded number of
times. From there on the checkpoint exists, and the run is COMMITTED: whoever waits for
it need not wait for DO_PRIMARY, and a failure of that is a warning.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from blkcolo.errors import BlkcoloError, DeadlineMissed, Unavailable

#: How often DO_SECONDARY is tried.
DO_ATTEMPTS = 3


class Step(enum.Enum):
    """What is to be done next; the value is the metric's phase."""

    PREPARE_PRIMARY = "prepare_primary"
    PREPARE_SECONDARY = "prepare_secondary"
    DO_SECONDARY = "do_secondary"
    DO_PRIMARY = "do_primary"


class Outcome(enum.Enum):
    """How a run ended."""

    #: The checkpoint exists.
    COMMITTED = "committed"
    #: It does not; the epoch's writes belong to the next one.
    ABORTED = "aborted"
    #: The secondary never answered whether it does.
    UNKNOWN = "unknown"


_STEPS = list(Step)


@dataclass
class CheckpointRun:
    """The progress of one checkpoint.

    Attributes:
        epoch: the epoch that is committed.
        generation: in force for all calls.
        step: what is to be done next; None at the end.
        outcome: set with the commit record, or at the end of a run without one.
        error: why it was aborted, or the warning of a committed one.
        seconds: how long each step took.
    """

    epoch: int
    generation: int
    step: Step | None = Step.PREPARE_PRIMARY
    outcome: Outcome | None = None
    error: BlkcoloError | None = None
    barrier_seq: int = 0
    seconds: dict[Step, float] = field(default_factory=dict)
    _attempts: int = 0

    def succeeded(self, seconds: float, barrier_seq: int = 0) -> None:
        """The step is done.

        Args:
            seconds: how long it took.
            barrier_seq: the primary's answer to PREPARE_PRIMARY.
        """
        step = self._finish(seconds)
        self.barrier_seq = barrier_seq or self.barrier_seq
        following = _STEPS.index(step) + 1
        self.step = _STEPS[following] if following < len(_STEPS) else None
        if step is Step.DO_SECONDARY:
            self.outcome = Outcome.COMMITTED

    def failed(self, seconds: float, error: BlkcoloError) -> None:
        """The step failed."""
        step = self._finish(seconds)
        if step is Step.DO_PRIMARY:
            self._end(Outcome.COMMITTED, error)
        elif step is not Step.DO_SECONDARY or not isinstance(
            error, (Unavailable, DeadlineMissed)
        ):
            self._end(Outcome.ABORTED, error)
        else:
            self._attempts += 1
            if self._attempts >= DO_ATTEMPTS:
                self._end(Outcome.UNKNOWN, error)

    def _finish(self, seconds: float) -> Step:
        if self.step is None:
            raise ValueError(self.outcome)  # a program error: the run has ended
        self.seconds[self.step] = self.seconds.get(self.step, 0.0) + seconds
        return self.step

    def _end(self, outcome: Outcome, error: BlkcoloError | None) -> None:
        self.step, self.outcome, self.error = None, outcome, error

    @property
    def total_seconds(self) -> float:
        """How long all steps took."""
        return sum(self.seconds.values())
