"""What must hold on one host, in either role: invariants I1 to I3, and generations."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from blkcolo_secondary.core.replica_state import ReplicaState
from tests.sim.content import Content, contents_of, view_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from blkcolo.storage.files import BlockFile
    from blkcolo_secondary.core.replica import Replica

_ENDED = (ReplicaState.FAILING_OVER, ReplicaState.FAILED_OVER)


class Side:
    """One host of the model.

    Attributes:
        contents: by volume, what the VM wrote here as to the primary; when the host
            has been demoted, what undo layers must lead back to.
        answered: as secondary, the newest checkpoint that it said is committed.
        newest: the newest generation that it took a call in.
        stop_marks: where each life of a primary begins to count its stops.
        copies: raised by whatever gives up the checkpoints of before.
    """

    def __init__(
        self, host: str, barriers: Mapping[int, list[bytes]], sizes: Sequence[int]
    ) -> None:
        self.contents = [Content(bytes(size)) for size in sizes]
        self.answered: int | None = None
        self.newest = 0
        self.copies = 0
        self._host = host
        self._barriers = barriers
        self._views: dict[int, list[Content]] = {}
        self._shown: int | None = None
        self._forgotten = False
        self._power_lost = False
        self._fenced = 0
        self._stopped_at = 0.0
        self.stop_marks = count(1, 1 << 20)
        self._target: int | None = None
        self._discarded = False
        self._is_primary = False

    # What happens.

    def lost_power(self) -> None:
        """The machine lost power: its disks are looked at before the next write."""
        self._power_lost = True

    def forget_view(self, epoch: int) -> None:
        """The number of an uncommitted epoch was given again."""
        self._views.pop(epoch, None)

    def commit_answered(self, epoch: int, copy: int) -> None:
        """It said that a checkpoint is committed.

        Args:
            epoch: which one.
            copy: `copies` when its record was written. Where the checkpoints were
                given up between that and the answer, it was true, and the number
                stays; of what is held now it says nothing.
        """
        if copy != self.copies:
            if self.answered is not None:
                self.answered = max(self.answered, epoch)
            return
        if self.answered is None or epoch > self.answered:
            self.answered, self._forgotten = epoch, False
        self._discarded = False

    def admitted(self, generation: int) -> None:
        """I4: it did what a caller of this generation asked for."""
        known = self.newest
        assert generation >= known, (
            f"I4: {self._host} admits {generation}, knows {known}"
        )
        self.newest = generation

    def stopped(self, now: float) -> None:
        """It stopped replication."""
        self._stopped_at = now

    def started(self, sent_at: float) -> None:
        """It took a start that was sent at this moment."""
        stopped = self._stopped_at
        assert sent_at >= stopped, f"a start of {sent_at} undoes the stop of {stopped}"

    def fenced(self, generation: int) -> None:
        """It answered a fence: it holds for ever."""
        self._fenced = max(self._fenced, generation)

    def check_not_fenced(self, generation: int) -> None:
        """I4: nothing is written in a generation that it was fenced in."""
        fenced = self._fenced
        assert generation > fenced or not fenced, f"I4: written below {fenced}"

    def view_content(self, volume: int) -> Content:
        """What the VM writes into here: a view, or what was discarded once."""
        return (self._views[self._shown] if self._shown is not None else self.contents)[
            volume
        ]

    def failing_over_to(self, epoch: int | None) -> None:
        """It took a failover to this kept checkpoint."""
        self._target = epoch

    def giving_up(self) -> None:
        """A stop is about to give up every checkpoint, or what a demotion kept."""
        self._forgotten, self._discarded = True, False

    def gave_up(self) -> None:
        """It did."""
        self.copies += 1

    def serves_discarded(self) -> None:
        """A failover is about to serve what a demotion kept and a stop brought back."""
        self._discarded = False

    def leaves_view(self) -> None:
        """A survivor is about to change its role: its view is the VM's disk."""
        self._forgotten = True
        if self._shown is not None:
            self.contents = self._views[self._shown]

    def was_demoted(self) -> None:
        """It said that what its disk held can be brought back."""
        self._forget_views()
        self._discarded, self._is_primary = True, False

    def plays_primary(self) -> None:
        """Its disks are the VM's."""
        self._forget_views()
        self._discarded, self._is_primary = False, True

    def plays_secondary(self, *, discarded: bool) -> None:
        """It starts as secondary; from primary only by a demotion that is complete.

        It may have died before it said so; the role is saved behind everything else.

        Args:
            discarded: what its disk held can be brought back.
        """
        if self._is_primary:
            assert discarded, "a demotion was half done, and the role is saved"
            self.was_demoted()

    def _forget_views(self) -> None:
        self._views, self._shown, self._target = {}, None, None
        self.answered = None
        self.copies += 1

    # What must hold.

    def check_primary(self, disks: Sequence[BlockFile]) -> None:
        """The VM finds what it wrote; after power loss, what it flushed."""
        for volume, content in enumerate(contents_of(disks)):
            self.contents[volume].check(
                content,
                f"flush: disk{volume} of the primary",
                power_lost=self._power_lost,
            )
        self._power_lost = False

    def check_secondary(self, replica: Replica) -> None:
        """I1, I2 and I3."""
        committed = replica.checkpoints.committed
        self._check_committed(committed, replica.journal.state.committed)
        if committed is None:
            self._check_discarded(replica)
            self._power_lost = False
            return
        shown = replica.shown
        assert shown is not None, "I1: a checkpoint, and no view"
        self._show(shown, replica)
        for volume, content in enumerate(self._views[shown]):
            seen = view_of(replica, volume)
            content.check(
                seen,
                f"I1: view of disk{volume} is not C({shown})",
                power_lost=self._power_lost,
            )
            if replica.state in (ReplicaState.FAILED_OVER, ReplicaState.STOPPED):
                disk = bytearray(len(seen))
                replica.buffer.disks[volume].read_into(0, memoryview(disk))
                assert disk == seen, f"I2: disk{volume} is not the view"
        self._power_lost = False
        self._check_kept(replica)

    def _check_discarded(self, replica: Replica) -> None:
        """What a demotion discarded can be brought back until the first commit."""
        if not replica.journal.state.discarded and not replica.tracks:
            assert not self._discarded, "discarded contents are given up"
            return
        for volume, content in enumerate(self.contents):
            content.check(
                view_of(replica, volume, at=None if replica.tracks else -1),
                f"discarded contents of disk{volume} are lost",
                power_lost=self._power_lost,
            )

    def _check_committed(self, committed: int | None, known: int | None) -> None:
        if self.answered is None:
            return
        assert known is not None, "I3: the number is lost"
        assert known >= self.answered, f"I3: {known} < {self.answered}"
        if committed is None:
            assert self._forgotten, "I3: the checkpoint is lost"
        else:
            assert committed >= self.answered, f"I3: {committed} < {self.answered}"

    def _show(self, shown: int, replica: Replica) -> None:
        """The view may move on, and back only behind an unanswered commit."""
        stopped = replica.state is ReplicaState.STOPPED  # and the overlay given up
        older = [e for e in self._views if e < min(shown, self.answered or 0)]
        for epoch in older:
            del self._views[epoch]
        if replica.state in _ENDED and self._target is not None:
            assert shown == self._target, f"I2: led to {shown}, not {self._target}"
            if self._shown != shown:
                self._views.pop(shown, None)
        if shown not in self._views or stopped:
            assert shown in self._barriers, f"I1: {shown} was never a barrier"
            self._views[shown] = [Content(c) for c in self._barriers[shown]]
        self._shown = shown

    def _check_kept(self, replica: Replica) -> None:
        for checkpoint in replica.checkpoints.available[:-1]:
            for volume, expected in enumerate(self._barriers[checkpoint.epoch]):
                seen = view_of(replica, volume, at=checkpoint.epoch)
                assert seen == expected, f"I1: kept {checkpoint.epoch} differs"
