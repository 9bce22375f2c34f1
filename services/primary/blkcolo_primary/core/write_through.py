"""A VM's write on its way: its mark, and its place in the stream.

The order of a VM write: `intend` (its regions are marked), the local write, `wrote`.
Invariant I5: a write that no stream takes is counted as unreplicated here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blkcolo.intent.log import BEFORE_ALL_EPOCHS
from blkcolo.stream import RecordKind
from blkcolo_primary.core.forward_state import ForwardState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blkcolo.intent.log import IntentLog
    from blkcolo_primary.core.forward_stream import ForwardStream
    from blkcolo_primary.core.standing import Standing
    from blkcolo_primary.core.traffic import Traffic
    from blkcolo_primary.core.window import Window


class WriteThrough:
    """The VM's writes of one group."""

    def __init__(
        self,
        standing: Standing,
        intent: IntentLog,
        traffic: Traffic,
        window: Window,
        *,
        leaves_to_resync: bool,
    ) -> None:
        """Takes the group.

        Args:
            standing: says which stream they enter.
            intent: where they are marked.
            traffic: where those are counted that enter none.
            window: what may be in flight.
            leaves_to_resync: a write that a running resync will find is not sent; not
                where its reply waits for the secondary.
        """
        self._standing = standing
        self._intent = intent
        self._traffic = traffic
        self._window = window
        self._leaves_to_resync = leaves_to_resync

    @property
    def congested(self) -> bool:
        """True while a VM write would have to wait for the secondary."""
        stream = self._standing.stream
        if stream is None:
            return False
        if stream.outbox.fills(self._window):
            return True
        full = stream.outbox.buffer_full  # it asks to hold VM writes up
        return full and self._standing.state is ForwardState.REPLICATING

    def intend(self, volume: int, offset: int, length: int) -> bool:
        """A local write is about to be done; True if a new mark stands for it.

        Raises:
            OSError: the mark could not be written; the write must not happen.
        """
        return self._intent.mark(self._marks_epoch, volume, offset, length)

    @property
    def _marks_epoch(self) -> int:
        """The epoch whose commit makes a mark superfluous."""
        standing = self._standing
        return standing.epoch if standing.replica_id else BEFORE_ALL_EPOCHS

    def wrote(self, volume: int, offset: int, data: memoryview) -> int | None:
        """A local write is done; returns the seq that covers it, if any does."""
        stream = self._standing.stream
        if stream is None:
            self._unreplicated(len(data))
            return None
        resyncing = self._standing.state is ForwardState.RESYNCING
        if resyncing and self._left_to_resync(stream, volume, offset, len(data)):
            return None
        return stream.outbox.data(volume, offset, data)

    def zeroed(
        self, volume: int, offset: int, length: int, *, trim: bool
    ) -> int | None:
        """A local zero or trim is done; returns the seq that covers it, if any."""
        stream = self._standing.stream
        if stream is None:
            self._unreplicated(length)
            return None
        resyncing = self._standing.state is ForwardState.RESYNCING
        if resyncing and self._left_to_resync(stream, volume, offset, length):
            return None
        kind = RecordKind.TRIM if trim else RecordKind.ZERO
        return stream.outbox.zero(volume, offset, length, kind)

    # Writes of one length.

    @property
    def takes_each(self) -> bool:
        """True where writes need no look at each one; see `wrote_each`."""
        looks = (ForwardState.FENCED, ForwardState.RESYNCING)
        return self._standing.state not in looks

    def intend_each(self, volume: int, offsets: Sequence[int], length: int) -> None:
        """As `intend`, of writes of one length."""
        self._intent.mark_each(self._marks_epoch, volume, offsets, length)

    def wrote_each(
        self, volume: int, offsets: Sequence[int], pieces: Sequence[memoryview]
    ) -> None:
        """As `wrote`, of writes of one length."""
        stream = self._standing.stream
        if stream is None:
            self._unreplicated(sum(map(len, pieces)))
        else:
            stream.outbox.data_each(volume, offsets, pieces)

    # Writes that the stream does not take.

    def _left_to_resync(
        self, stream: ForwardStream, volume: int, offset: int, length: int
    ) -> bool:
        """True if the resync will find the write; see `comparison`."""
        ahead = stream.resync.is_ahead(volume, offset, length)
        if not ahead or not self._leaves_to_resync:
            return False
        self._traffic.left_to_resync(length)
        return True

    def _unreplicated(self, length: int) -> None:
        """Counts bytes that no stream carries, once there was one to carry them."""
        if self._standing.state in (ForwardState.LOST, ForwardState.CONNECTING):
            self._traffic.unreplicated_bytes += length
