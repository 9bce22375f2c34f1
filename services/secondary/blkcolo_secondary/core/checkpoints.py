"""The checkpoints of a group: what may be committed, what is, and what is kept.

A commit is the record in the journal. Before it nothing has happened; behind it the
layers that no kept checkpoint needs are dropped.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from blkcolo.errors import Reason, Refused
from blkcolo_secondary.core.replica_options import Committed, Prepared
from blkcolo_secondary.record.group_journal import Checkpoint
from blkcolo_secondary.record.history import prune

if TYPE_CHECKING:
    from blkcolo.intent.log import IntentLog
    from blkcolo_secondary.buffer.disk_buffer import DiskBuffer
    from blkcolo_secondary.record.group_journal import GroupJournal
    from blkcolo_secondary.record.history import HistoryPolicy
    from blkcolo_secondary.stream.receiver import Receiver


class Checkpoints:
    """Prepares, commits and keeps checkpoints."""

    def __init__(
        self,
        group: str,
        journal: GroupJournal,
        buffer: DiskBuffer,
        intent: IntentLog,
        policy: HistoryPolicy,
    ) -> None:
        """Nobody reads yet.

        Args:
            group: its name, for errors.
            journal: where commits are recorded.
            buffer: where the layers are.
            intent: what a first commit after a demotion makes meaningless.
            policy: which checkpoints are kept.
        """
        self._group = group
        self._journal = journal
        self._buffer = buffer
        self._intent = intent
        self._policy = policy
        #: How many readers each kept checkpoint has.
        self._readers: Counter[int] = Counter()

    @property
    def committed(self) -> int | None:
        """The epoch that failover leads to; None where there is none."""
        durable = self._journal.state
        return durable.committed if durable.has_base else None

    @property
    def kept(self) -> tuple[Checkpoint, ...]:
        """The committed one and those before it that are kept, oldest first."""
        return self._journal.state.history

    def prepared(self, stream: Receiver | None, epoch: int) -> Prepared | None:
        """Says that the epoch may be committed, or is; None if neither."""
        if self._is_committed(epoch):
            return Prepared(epoch, 0)
        sealed = stream.prepared(epoch) if stream is not None else None
        return Prepared(epoch, sealed.records) if sealed is not None else None

    def is_due(self, stream: Receiver | None, epoch: int) -> bool:
        """True if the epoch may be committed, False if it is already.

        Raises:
            Refused: it is not prepared.
        """
        if self._is_committed(epoch):
            return False
        if stream is None or stream.prepared(epoch) is None:
            raise Refused(
                Reason.NOT_PREPARED,
                f"group {self._group}: epoch {epoch} is not prepared;"
                " call PrepareCheckpoint for it on the primary, then here",
                epoch=epoch,
            )
        return True

    def _is_committed(self, epoch: int) -> bool:
        return self.committed is not None and epoch <= self.committed

    def commit(self, stream: Receiver | None, epoch: int, now: float) -> Committed:
        """Commits a prepared epoch, and every one before it.

        Raises:
            Refused: it is not prepared.
            BlkcoloError: the commit record could not be written: nothing happened.
        """
        if not self.is_due(stream, epoch):
            return Committed(self.committed or 0, 0)
        durable = self._journal.state
        history = prune(
            (*durable.history, Checkpoint(epoch, now)),
            self._policy,
            now,
            self._buffer.layers.bytes_held,
            self._readers,
        )
        self._journal.commit(
            committed=epoch,
            has_base=True,
            base=epoch,
            history=history,
            epoch=max(epoch, durable.epoch),
            is_replica=True,
            discarded=False,
        )
        if durable.discarded:
            self._intent.forget()
        dropped = self._buffer.commit(epoch, history[0].epoch)
        if stream is not None:
            stream.forget(epoch)
        return Committed(epoch, dropped)

    def give_up_before(self, epoch: int) -> None:
        """The kept checkpoints before this one cannot be had any more.

        Raises:
            BlkcoloError: the journal could not be written: nothing happened.
        """
        left = tuple(kept for kept in self.kept if kept.epoch >= epoch)
        self._journal.update(history=left)
        self._buffer.layers.drop(lambda e: e <= left[0].epoch)

    def open_reader(self, epoch: int) -> None:
        """A reader of a kept checkpoint comes: it stays until the reader goes."""
        self._readers[epoch] += 1

    def close_reader(self, epoch: int) -> None:
        """A reader goes."""
        self._readers[epoch] -= 1
        self._readers += Counter()  # drops what is 0
