"""The checkpoints of a group: what may be committed, what is, and what is kept.

A commit is the record in the journal. Before it nothing has happened; behind it the
layers that no kept checkpoint needs are dropped.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from blkcolo.errors import Reason, Refused
from blkcolo_secondary.buffer.save_and_write import Sync
from blkcolo_secondary.core.doubt import distrust, still_doubtful, trusted
from blkcolo_secondary.core.replica_options import Committed, Prepared
from blkcolo_secondary.core.replica_state import FLUSHES, TRACKS, ReplicaState
from blkcolo_secondary.record.group_journal import Checkpoint
from blkcolo_secondary.record.history import prune

if TYPE_CHECKING:
    from collections.abc import Generator

    from blkcolo.errors import BlkcoloError
    from blkcolo.intent.log import IntentLog
    from blkcolo_secondary.buffer.disk_buffer import DiskBuffer
    from blkcolo_secondary.core.reception import Reception
    from blkcolo_secondary.core.standing import Standing
    from blkcolo_secondary.record.group_journal import GroupJournal
    from blkcolo_secondary.record.history import HistoryPolicy


class Checkpoints:
    """Prepares, commits and keeps checkpoints."""

    def __init__(
        self,
        standing: Standing,
        reception: Reception,
        journal: GroupJournal,
        buffer: DiskBuffer,
        intent: IntentLog,
        policy: HistoryPolicy,
    ) -> None:
        """Nobody reads yet.

        Args:
            standing: says whether anything may be prepared.
            reception: whose stream says which epochs are whole.
            journal: where commits are recorded.
            buffer: where the layers are.
            intent: what a first commit after a demotion makes meaningless.
            policy: which checkpoints are kept.
        """
        self._standing = standing
        self._reception = reception
        self._journal = journal
        self._buffer = buffer
        self._intent = intent
        self._policy = policy
        #: How many readers each kept checkpoint has.
        self._readers: Counter[int] = Counter()

    @property
    def committed(self) -> int | None:
        """The epoch that failover leads to; None where there is none."""
        return self._journal.state.failover_epoch

    @property
    def available(self) -> tuple[Checkpoint, ...]:
        """The checkpoints that failover can lead to, oldest first."""
        tracks = self._standing.state in TRACKS
        return () if tracks else self._journal.state.history

    def prepared(
        self, epoch: int, generation: int, barrier_seq: int = 0
    ) -> Prepared | None:
        """Says that the epoch is prepared, or None while its writes are under way.

        Args:
            epoch: the epoch.
            generation: the caller's.
            barrier_seq: its barrier's place in the stream; 0 if it is not known.

        Raises:
            BlkcoloError: it will not be prepared without a change; says which.
        """
        standing, stream = self._standing, self._reception.stream
        standing.check_generation(generation, may_be_newer=False)
        if self._is_committed(epoch):
            return Prepared(epoch, 0)
        sealed = stream.prepared(epoch) if stream is not None else None
        if sealed is not None:
            return Prepared(epoch, sealed.records)
        if stream is None or standing.state is not ReplicaState.RECEIVING:
            raise standing.failure or Refused(
                Reason.NOT_REPLICATING,
                f"group {standing.group} is {standing.state.name}: preparing epoch"
                f" {epoch} needs it to be RECEIVING; resume replication",
                epoch=epoch,
            )
        stream.check_preparable(epoch, barrier_seq)
        return None

    def commit_steps(
        self, epoch: int, generation: int, now: float
    ) -> Generator[Sync, None, Committed]:
        """Commits as `commit`, durably where power loss is to be survived.

        The disks are durable before the commit record, the record before the answer.
        A Sync is to be carried out before the next step; meanwhile messages may be
        applied, and the next epoch prepared.

        Raises:
            BlkcoloError: as `commit`.
        """
        host = self._buffer.host
        self._standing.check_generation(generation, may_be_newer=False)
        if self._is_due(epoch) and host:
            yield Sync(self._buffer.sync_disks)
        committed = self.commit(epoch, generation, now)
        if host:
            yield Sync(self._journal.sync)
        return committed

    def commit(self, epoch: int, generation: int, now: float) -> Committed:
        """Commits a prepared epoch, and every one before it; see `commit_steps`.

        Args:
            epoch: the epoch.
            generation: the caller's.
            now: seconds since 1970.

        Raises:
            Refused: it is not prepared, or the caller's generation is not in force.
            BlkcoloError: the commit record could not be written: nothing happened.
        """
        self._standing.check_generation(generation, may_be_newer=False)
        if not self._is_due(epoch):
            return Committed(self.committed or 0, 0)
        durable = self._journal.state
        history = prune(
            (*trusted(durable, epoch), Checkpoint(epoch, now)),
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
            doubtful=still_doubtful(durable, epoch),
        )
        if durable.discarded:
            self._intent.forget()
        dropped = self._buffer.commit(epoch, history[0].epoch)
        if self._reception.stream is not None:
            self._reception.stream.forget(epoch)
        return Committed(epoch, dropped)

    def _is_due(self, epoch: int) -> bool:
        """True if the epoch may be committed, False if it is already.

        Raises:
            Refused: it is not prepared.
        """
        if self._is_committed(epoch):
            return False
        stream = self._reception.stream
        if stream is None or stream.prepared(epoch) is None:
            raise Refused(
                Reason.NOT_PREPARED,
                f"group {self._standing.group}: epoch {epoch} is not prepared;"
                " call PrepareCheckpoint for it on the primary, then here",
                epoch=epoch,
            )
        return True

    def _is_committed(self, epoch: int) -> bool:
        return self.committed is not None and epoch <= self.committed

    def layer_damaged(self, epoch: int, error: BlkcoloError) -> None:
        """An undo layer does not hold what was saved: what rests on it is given up.

        Kept checkpoints before it go. Where it leads back to the committed one, a
        failover would be wrong until the next commit: so the stream faults, which
        ends the protection, and the next one begins with a checkpoint.
        Where the layers are being undone, or were, nothing is given up any more.

        Raises:
            BlkcoloError: the journal could not be written: nothing is given up.
        """
        if self._standing.state in FLUSHES | TRACKS:
            return
        if not self._is_committed(epoch) and self._reception.stream is not None:
            self._reception.fault(self._reception.stream, error)
        distrust(self._journal, self._buffer, epoch)

    def open_reader(self, epoch: int) -> None:
        """A reader of a kept checkpoint comes: it stays until the reader goes."""
        self._readers[epoch] += 1

    def close_reader(self, epoch: int) -> None:
        """A reader goes."""
        self._readers[epoch] -= 1
        self._readers += Counter()  # drops what is 0
