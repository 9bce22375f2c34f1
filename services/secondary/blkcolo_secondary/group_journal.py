"""What the secondary must remember of a group: one journal of small records.

Each record holds the whole durable state as JSON (framing: `blkcolo.records`, a =
committed epoch, b = generation), so the last intact one is the truth, and one append
commits all volumes of a group or none. The commit record is the point of no return
of a checkpoint.
"""

from __future__ import annotations

import enum
import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from blkcolo import records
from blkcolo.errors import from_os_error

if TYPE_CHECKING:
    from blkcolo.files import Folder

NAME = "journal"
_SPARE_NAME = "journal.new"
_COMPACT_ABOVE = 1 << 20
_STATE_KIND = 1


class Phase(enum.StrEnum):
    """The part of a group's state that outlives the process."""

    #: Replicating, or ready to.
    ACTIVE = "active"
    #: The disk is being taken back to the committed checkpoint.
    ROLLING_BACK = "rolling back"
    #: Stopped by a call.
    STOPPED = "stopped"
    #: The Disk Buffer is being flushed into the disk.
    FAILING_OVER = "failing over"
    #: The layers are undone on the disk; the overlay is being moved to it.
    SETTLING = "settling"
    #: An ordinary disk.
    FAILED_OVER = "failed over"


@dataclass(frozen=True)
class DurableState:
    """A group's durable state.

    Attributes:
        generation: the newest known one.
        phase: see Phase.
        committed: the last committed epoch; never goes back.
        committed_at: when, in seconds since 1970.
        has_base: the disk and the layers lead to C(committed).
        epoch: the newest epoch that a stream started or a stop ended.
    """

    generation: int = 0
    phase: Phase = Phase.ACTIVE
    committed: int | None = None
    committed_at: float = 0.0
    has_base: bool = False
    epoch: int = 0


class GroupJournal:
    """The journal file and the state that it stands for."""

    def __init__(self, folder: Folder) -> None:
        """Reads the journal back; damage raises DataLoss."""
        self._folder = folder
        self.state = DurableState()
        self._file = folder.open(NAME)
        self._end = 0
        for record in records.scan(self._file, NAME):
            self.state = _decode(
                records.read(self._file, record.position, record.payload_length)
            )
            self._end = record.end

    def update(self, **changes: object) -> DurableState:
        """Appends the state with `changes`; it holds when this returns.

        Raises:
            BlkcoloError: the file could not be written; nothing changed.
        """
        state = replace(self.state, **changes)  # type: ignore[arg-type] # by name
        payload = json.dumps(asdict(state)).encode()
        head = records.header(
            _STATE_KIND, 0, state.committed or 0, state.generation, payload
        )
        try:
            if self._end > _COMPACT_ABOVE:
                self._start_anew(head + payload)
            else:
                self._append(head + payload)
        except OSError as error:
            raise from_os_error(error, "writing the group's journal") from error
        self.state = state
        return state

    def _append(self, record: bytes) -> None:
        try:
            self._file.write(self._end, record)
        except OSError:
            self._file.truncate(self._end)
            raise
        self._end += len(record)

    def _start_anew(self, record: bytes) -> None:
        spare = self._folder.open(_SPARE_NAME)
        spare.truncate(0)
        spare.write(0, record)
        spare.sync()
        self._folder.rename(_SPARE_NAME, NAME)
        self._file.close()
        self._file, self._end = spare, len(record)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def _decode(payload: bytes) -> DurableState:
    fields = json.loads(payload)
    return DurableState(**{**fields, "phase": Phase(fields["phase"])})
