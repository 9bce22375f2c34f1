"""Settles what a resync has compared, one portion after the other.

A portion is what was answered up to now. It is settled once the secondary has applied
everything that stands in the stream by then, repairs and the VM's writes alike; where
power loss is to be survived, once both disks are synced as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blkcolo.stream import Flush

if TYPE_CHECKING:
    from blkcolo.intent.log import IntentLog
    from blkcolo_primary.core.comparison import Comparison
    from blkcolo_primary.core.outbox import Outbox

#: Compared bytes after which a portion is settled: what an interruption costs.
PORTION = 16 << 20
#: The same where each portion costs a sync of both disks.
HOST_PORTION = 256 << 20


class Settler:
    """The portions of one resync."""

    def __init__(
        self,
        intent: IntentLog,
        comparison: Comparison,
        outbox: Outbox,
        *,
        host: bool,
        portion: int | None = None,
    ) -> None:
        """Starts with nothing settled.

        Args:
            intent: where settled regions are kept.
            comparison: the resync.
            outbox: its stream.
            host: power loss is to be survived.
            portion: bytes; by default by `host`.
        """
        self._intent = intent
        self._comparison = comparison
        self._outbox = outbox
        self._host = host
        self._portion = portion or (HOST_PORTION if host else PORTION)
        self._settled_bytes = 0
        self._seq: int | None = None
        #: True while the edge is to sync the disks, and then to call `disks_synced`.
        self.needs_sync = False

    def step(self) -> None:
        """Begins or ends a portion where that is due.

        Raises:
            OSError: the intent log could not be written.
        """
        if self._seq is not None:
            outbox = self._outbox
            reached = outbox.durable_seq if self._host else outbox.applied_seq
            if reached >= self._seq and not self.needs_sync:
                self._seq = None
                self._intent.finish_settle()
        elif self._comparison.done_bytes - self._settled_bytes >= self._portion:
            self._settled_bytes = self._comparison.done_bytes
            self._intent.settled.start(self._comparison.take_answered())
            self.needs_sync = self._host
            outbox = self._outbox
            self._seq = outbox.control(Flush()) if self._host else outbox.last_seq

    def disks_synced(self) -> None:
        """The local disks are durable."""
        self.needs_sync = False
