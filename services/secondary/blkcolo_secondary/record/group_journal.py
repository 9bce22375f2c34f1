"""What the secondary must remember of a group: one journal of small records.

Each record holds the whole durable state as JSON (framing: `blkcolo.storage.records`, a
= committed epoch, b = generation), so the last intact one is the truth, and one append
commits all volumes of a group or none. The commit record is the point of no return of a
checkpoint.
"""

from __future__ import annotations

import enum
import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from blkcolo.errors import BlkcoloError, DataLoss, Reason, from_os_error
from blkcolo.storage import reserve
from blkcolo.storage.records import RecordLog

if TYPE_CHECKING:
    from blkcolo.storage.files import Folder

NAME = "journal"
_SPARE_NAME = "journal.new"
_RESERVE = "reserve"
_COMPACT_ABOVE = 1 << 20
_COMPACT_RECORDS = 200
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


class Checkpoint(NamedTuple):
    """A committed epoch, and when it was committed, in seconds since 1970."""

    epoch: int
    committed_at: float


@dataclass(frozen=True)
class DurableState:
    """A group's durable state.

    Attributes:
        generation: the newest known one.
        phase: see Phase.
        committed: the last committed epoch; never goes back.
        has_base: the disk and the layers lead to C(base).
        base: the epoch that the view shows: the committed one, or an older one
            that a failover was asked to lead to.
        history: the checkpoints that are kept, oldest first; the last one is the
            committed one.
        epoch: the newest epoch that a stream started or a stop ended.
        replica_id: names this copy, from its first stream on.
        incarnation: raised by each stop; while it stays the same, what was applied
            once is still on the disk.
        discarded: the layers lead back to contents that a change of roles discarded;
            there is no checkpoint yet.
        doubtful: the newest undo layer above the committed epoch that may not hold
            what was there: the commit that keeps it gives up what rests on it.
        is_replica: the disk holds what this group's primary wrote, and may be
            overwritten by it.
    """

    generation: int = 0
    phase: Phase = Phase.ACTIVE
    committed: int | None = None
    has_base: bool = False
    base: int | None = None
    history: tuple[Checkpoint, ...] = ()
    epoch: int = 0
    replica_id: str = ""
    incarnation: int = 0
    is_replica: bool = False
    discarded: bool = False
    doubtful: int | None = None

    @property
    def failover_epoch(self) -> int | None:
        """The committed epoch, where failover leads to it; None: it leads nowhere."""
        return self.committed if self.has_base else None

    @property
    def committed_at(self) -> float:
        """When the last checkpoint was committed; 0 before the first."""
        return self.history[-1].committed_at if self.history else 0.0


class GroupJournal:
    """The journal file and the state that it stands for."""

    def __init__(self, folder: Folder, *, host: bool = False) -> None:
        """Reads the journal back; damage raises DataLoss.

        Args:
            folder: where it lives.
            host: every record is durable when `update` returns, but for commits,
                which `sync` makes so.
        """
        self._folder = folder
        self._host = host
        self.state = DurableState()
        self._log = RecordLog(folder.open(NAME), NAME, host=host)
        for record in self._log.load():
            self.state = _decode(self._log.payload(record))
        if host:
            # An earlier process may have died between a record and its sync.
            self._log.sync()
            folder.sync()

    def update(self, **changes: object) -> DurableState:
        """Appends the state with `changes`; it holds when this returns.

        Raises:
            BlkcoloError: the file could not be written; nothing changed.
        """
        before = self.state
        state = self._write(replace(before, **changes))  # type: ignore[arg-type] # by name
        if self._host:
            try:
                self.sync()
            except BlkcoloError:
                self.state = before  # what comes next is written over it
                raise
        return state

    def commit(self, **changes: object) -> DurableState:
        """As `update`, but only `sync` makes it durable with `host`."""
        return self._write(replace(self.state, **changes))  # type: ignore[arg-type] # by name

    def _write(self, state: DurableState) -> DurableState:
        payload = json.dumps(asdict(state)).encode()
        entry = (_STATE_KIND, state.committed or 0, state.generation, payload)
        try:
            most = max(_COMPACT_ABOVE, _COMPACT_RECORDS * len(payload))
            if self._log.end > most or self._log.lost_from is not None:
                self._start_anew(entry)
            else:
                self._log.add(*entry)
        except OSError as error:
            raise from_os_error(error, "writing the group's journal") from error
        self.state = state
        return state

    def _start_anew(self, entry: tuple[int, int, int, bytes]) -> None:
        spare = self._folder.open(_SPARE_NAME)
        log = RecordLog(spare, NAME, host=self._host)
        try:
            spare.truncate(0)
            log.add(*entry)
            log.sync()
            self._folder.rename(_SPARE_NAME, NAME)
        except OSError:
            log.close()
            raise
        self._log.close()
        self._log = log

    def sync(self) -> None:
        """Makes every record durable; any thread.

        Where the file is written anew meanwhile, and the old one closed, that holds:
        the new one was durable before it took its place.

        Raises:
            BlkcoloError: the disk refused.
        """
        log = self._log
        try:
            log.sync()
        except OSError as error:
            if log is not self._log:
                return
            raise from_os_error(error, "syncing the group's journal") from error

    @property
    def durable(self) -> bool:
        """True if `state` survives what it is to survive."""
        return self._log.durable

    def set_room_aside(self, size: int) -> None:
        """Makes sure that a failover can be recorded; see `blkcolo.storage.reserve`.

        Raises:
            Exhausted: there is no room for it.
        """
        reserve.fill(self._folder, _RESERVE, size)

    def give_room_back(self) -> None:
        """A failover takes that room; raises BlkcoloError."""
        reserve.release(self._folder, _RESERVE)

    def close(self) -> None:
        """Closes the file."""
        self._log.close()


def _decode(payload: bytes) -> DurableState:
    """The checksum is right: whoever wrote this meant it.

    Raises:
        DataLoss: another version of the program did.
    """
    fields = json.loads(payload)
    try:
        return DurableState(
            **{
                **fields,
                "phase": Phase(fields["phase"]),
                "history": tuple(Checkpoint(*entry) for entry in fields["history"]),
            }
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataLoss(
            Reason.PROTOCOL_VERSION,
            f"{NAME} has a state that this program does not know ({error}): run the"
            " program version that wrote it",
        ) from error
