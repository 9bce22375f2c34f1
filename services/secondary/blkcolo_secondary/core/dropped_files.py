"""Files that the buffer dropped go only where what dropped them is durable.

Until then a power loss brings back a journal that needs them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blkcolo.errors import translated

if TYPE_CHECKING:
    from blkcolo_secondary.buffer.buffer_files import Discarded
    from blkcolo_secondary.buffer.disk_buffer import DiskBuffer
    from blkcolo_secondary.record.group_journal import GroupJournal


class DroppedFiles:
    """What one group's buffer dropped, and has not removed yet."""

    def __init__(self, journal: GroupJournal, buffer: DiskBuffer) -> None:
        """Takes the journal that says what is needed, and the buffer."""
        self._journal = journal
        self._buffer = buffer

    def take(self) -> Discarded | None:
        """Hands over what may be removed, off the critical path.

        A commit may be under way while something else has dropped some, too.
        """
        return self._buffer.take_dropped() if self._journal.durable else None

    def sweep(self) -> None:
        """Removes them now: those of an ACTIVE group count at its next start.

        Raises:
            BlkcoloError: the journal could not be written, or a file not removed.
        """
        if self._buffer.host:
            # A commit may be under way, or have failed: it dropped some of them.
            self._journal.update()
        with translated("removing dropped undo layers"):
            self._buffer.sweep()

    def sweep_at_end(self) -> None:
        """Removes what may be; the next start removes the rest."""
        if self._journal.durable:
            self._buffer.sweep()
