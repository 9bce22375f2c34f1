"""Where a group stands: its state, and why it cannot go on, where it cannot.

Each side of the core (`reception`, `checkpoints`, `replica`) looks here, and brings
what happened to it here: `replica_state` says what follows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blkcolo.leaps import check_generation
from blkcolo_secondary.core.after_start import state_at_start
from blkcolo_secondary.core.replica_state import Event, ReplicaState, advance

if TYPE_CHECKING:
    from blkcolo.errors import BlkcoloError
    from blkcolo_secondary.record.group_journal import GroupJournal


class Standing:
    """The state of one group.

    Attributes:
        group: its name.
        state: see `replica_state`.
        failure: why the stream faulted or the flush paused; None where neither did.
    """

    def __init__(self, group: str, journal: GroupJournal) -> None:
        """Goes on from what the journal says."""
        self.group = group
        self.state = state_at_start(journal.state)
        self.failure: BlkcoloError | None = None
        self._journal = journal

    @property
    def generation(self) -> int:
        """The newest known generation."""
        return self._journal.state.generation

    def check_generation(self, generation: int, *, may_be_newer: bool) -> None:
        """Refuses a caller of another generation; see `leaps.check_generation`."""
        check_generation(
            self.group,
            generation,
            self.generation,
            brought_by=None if may_be_newer else "a stream or a stop",
        )

    def after(self, event: Event) -> ReplicaState:
        """The state that an event leads to, which is not entered yet.

        Raises:
            Refused: the state in force does not allow it.
        """
        return advance(self.group, self.state, event)

    def enter(self, state: ReplicaState, failure: BlkcoloError | None = None) -> None:
        """From here on this state holds, and this is why, if that is a failure."""
        self.state, self.failure = state, failure
