"""What must hold in the group, whichever host is in which role: I4, I5, and barriers.

What each host's disk must hold is the business of `side`.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from blkcolo.errors import BlkcoloError
from tests.sim.content import contents_of
from tests.sim.side import Side

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from blkcolo.storage.files import BlockFile
    from blkcolo_secondary.record.group_journal import GroupJournal


@contextmanager
def refused_changes_nothing(journal: GroupJournal) -> Iterator[None]:
    """A call that is refused, by the disk as well, has not happened."""
    before = journal.state
    try:
        yield
    except BlkcoloError:
        assert journal.state == before, f"what was refused counts: {journal.state}"
        raise


class Oracle:
    """The model: contents at barriers, and what each host was told.

    Attributes:
        barriers: by epoch: the contents that its barrier ended with.
        sides: by host.
    """

    def __init__(self, hosts: Iterable[str], sizes: Sequence[int]) -> None:
        self.barriers: dict[int, list[bytes]] = {}
        self.sides = {name: Side(name, self.barriers, sizes) for name in hosts}
        self._writers: dict[int, str] = {}
        self._drained: list[bytes] | None = None
        self._last_checkpoint: int | None = None
        self._switched = False
        self._answered = -1

    def at_barrier(self, epoch: int, disks: Sequence[BlockFile]) -> None:
        """The primary ended an epoch; an uncommitted number may come again."""
        self.barriers[epoch] = contents_of(disks)
        for side in self.sides.values():
            side.forget_view(epoch)

    def commit_answered(self, host: str, epoch: int, holds: int, copy: int) -> None:
        """I3: committed never goes back, whichever host says it.

        Args:
            host: who answers.
            epoch: what it answers.
            holds: the newest one that it holds meanwhile.
            copy: see `Side.commit_answered`.
        """
        assert holds >= self._answered, f"I3: {holds} behind {self._answered}"
        self._answered = max(self._answered, epoch)
        self.sides[host].commit_answered(epoch, copy)

    def vm_writes(self, host: str, generation: int) -> None:
        """I4: at most one side accepts VM writes in a generation."""
        writer = self._writers.setdefault(generation, host)
        assert writer == host, f"I4: {host} and {writer} write in {generation}"
        self.sides[host].check_not_fenced(generation)

    def prepared(self, epoch: int, spoiled_in: int | None) -> None:
        """I5: no epoch is prepared with, or behind, a lost write."""
        spoiled = spoiled_in is not None and epoch >= spoiled_in
        assert not spoiled, f"I5: {epoch} prepared, a write was lost in {spoiled_in}"

    def fenced_behind(self, epoch: int, disks: Sequence[BlockFile]) -> None:
        """A switchover's fence was taken: all that was written is in C(epoch)."""
        assert contents_of(disks) == self.barriers[epoch], "a switchover loses writes"
        self._last_checkpoint = epoch

    def led_to(self, epoch: int | None) -> None:
        """A failover, or a switchover, leads to this checkpoint."""
        last, self._last_checkpoint = self._last_checkpoint, None
        assert last in (None, epoch), f"the switchover led to {epoch}, not to {last}"
        self._switched = self._switched or last is not None

    def switched_over(self) -> None:
        """A switchover is done."""
        assert self._switched, "a switchover without a fence"

    def fails_over(self) -> None:
        """A failover or a switchover begins: what an earlier one proved is over."""
        self._last_checkpoint, self._switched = None, False

    def kept_latest(self, disks: Sequence[BlockFile]) -> None:
        """A stop at the latest write is done; drained, it is all that was written."""
        drained, self._drained = self._drained, None
        if drained is not None:
            latest = contents_of(disks)
            assert latest == drained, "stop at the latest write: the disks differ"

    def drained(self, disks: Sequence[BlockFile]) -> None:
        """The primary's stream ended; everything was applied."""
        self._drained = contents_of(disks)

    def leaves_drained(self) -> None:
        """What was drained is not what the secondary's disks hold any more.

        By a new stream, by a stop or a failover to a checkpoint, or by a loss of power:
        what was applied was not durable.
        """
        self._drained = None
