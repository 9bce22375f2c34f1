"""The epochs of one stream: those that ended in it, and those that are committed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from blkcolo.errors import Reason, Refused

if TYPE_CHECKING:
    from blkcolo_primary.core.outbox import Outbox


class _Ended(NamedTuple):
    """An epoch, and the seq of its barrier."""

    epoch: int
    seq: int


class StreamEpochs:
    """Ends and commits the epochs of one stream.

    Attributes:
        committed: the newest epoch of this stream that is committed.
    """

    def __init__(self, group: str, outbox: Outbox) -> None:
        """No epoch has ended yet."""
        self.committed: int | None = None
        self._group = group
        self._outbox = outbox
        self._last: _Ended | None = None

    def barrier_of(self, epoch: int) -> int | None:
        """The seq of its barrier, if the epoch is the one that was ended last."""
        last = self._last
        return last.seq if last is not None and last.epoch == epoch else None

    def end(self, epoch: int) -> int:
        """Puts the barrier of the current epoch into the stream; returns its seq.

        Raises:
            Refused: another epoch is due.
        """
        if epoch != self._outbox.epoch:
            raise Refused(
                Reason.EPOCH_GAP,
                f"group {self._group}: epoch {epoch} cannot be prepared,"
                f" {self._outbox.epoch} is the current one",
                epoch=epoch,
            )
        self._last = _Ended(epoch, self._outbox.barrier())
        return self._last.seq

    def commit(self, epoch: int) -> bool:
        """Learns that the epoch is committed; False if it is of an earlier stream.

        Such a one says nothing of this stream's writes.

        Raises:
            Refused: it was not ended.
        """
        if epoch >= self._outbox.epoch:
            raise Refused(
                Reason.NOT_PREPARED,
                f"group {self._group}: epoch {epoch} is not prepared,"
                f" {self._outbox.epoch} is the current one; prepare it first",
                epoch=epoch,
            )
        if epoch < self._outbox.first_epoch:
            return False
        self.committed = max(epoch, self.committed or 0)
        return True
