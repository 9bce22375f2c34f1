"""What went through a group's streams since the service started, in bytes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from blkcolo_primary.core.comparison import Phase

if TYPE_CHECKING:
    from blkcolo_primary.core.comparison import Comparison
    from blkcolo_primary.core.outbox import Outbox
    from blkcolo_primary.core.resync_plan import ResyncPlan


@dataclass
class Traffic:
    """Counts over all streams; the one that stands counts for itself until it ends.

    Attributes:
        unreplicated_bytes: written by the VM, and never applied by the secondary.
        resyncs: streams by what had to be compared in them.
    """

    unreplicated_bytes: int = 0
    resyncs: Counter[ResyncPlan] = field(default_factory=Counter)
    _sent: int = 0
    _acked: int = 0
    _resent: int = 0
    _epoch_start: int = 0
    _left_to_resync: int = 0
    _outbox: Outbox | None = None
    _resync: Comparison | None = None

    def begin(self, plan: ResyncPlan, outbox: Outbox, resync: Comparison) -> None:
        """A stream stands."""
        self.resyncs[plan] += 1
        self._outbox, self._resync = outbox, resync
        self._left_to_resync = 0
        self.start_epoch()

    def end(self) -> None:
        """It ended; what it held and was not applied is unreplicated."""
        if self._outbox is None:
            return
        self._sent, self._acked = self.sent_bytes, self.acked_bytes
        self._resent = self.resent_bytes
        self.unreplicated_bytes += self._outbox.unapplied_covered_bytes
        if self._resync is None or self._resync.phase is not Phase.DONE:
            self.unreplicated_bytes += self._left_to_resync
        self._outbox = self._resync = None
        self.start_epoch()

    def left_to_resync(self, length: int) -> None:
        """A write is not sent; the resync of this stream will find it, if it ends."""
        self._left_to_resync += length

    def start_epoch(self) -> None:
        """Bytes in the epoch are counted from here on."""
        self._epoch_start = self.recorded_bytes

    @property
    def sent_bytes(self) -> int:
        """Data bytes handed to streams."""
        return self._sent + (self._outbox.sent_bytes if self._outbox else 0)

    @property
    def acked_bytes(self) -> int:
        """Data bytes that the secondary has applied."""
        return self._acked + (self._outbox.applied_bytes if self._outbox else 0)

    @property
    def recorded_bytes(self) -> int:
        """Data bytes given to streams, those not yet sent included."""
        pending = self._outbox.unapplied_data_bytes if self._outbox else 0
        return self.acked_bytes + pending

    @property
    def sent_bytes_in_epoch(self) -> int:
        """Data bytes of the current epoch, those not yet sent included."""
        return self.recorded_bytes - self._epoch_start

    @property
    def resent_bytes(self) -> int:
        """Data bytes sent again by resyncs."""
        return self._resent + (self._resync.resent_bytes if self._resync else 0)
