"""The intent log on disk: a log of small records, rewritten when bits are cleared.

    record kind | volume | a            | b           | payload
    BASE        | 0      | committed    | region size | JSON: replica_id, sizes
    BITMAP      | index  | 0            | 0           | roaring bitmap, portable form
    MARK        | index  | first region | end region  | none
    COPY, SETTLED: see `settled_regions`

Framing: `blkcolo.storage.records`. A file that is missing, damaged, or of other sizes
says nothing: everything may differ. So does one whose BASE names no copy: it is there
for what is settled, and a MARK in it unsettles.
"""

from __future__ import annotations

import enum
import json
from typing import TYPE_CHECKING, NamedTuple

from pyroaring import BitMap

from blkcolo.intent import settled_regions
from blkcolo.intent.settled_regions import Copy, SettledRegions
from blkcolo.storage import records
from blkcolo.storage.records import RecordLog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blkcolo.storage.files import Folder


class IntentKind(enum.IntEnum):
    """Record kinds of an intent log."""

    BASE = 1
    BITMAP = 2
    MARK = 3
    COPY = settled_regions.COPY
    SETTLED = settled_regions.SETTLED


class Base(NamedTuple):
    """The copy, and the checkpoint in it, that the bits are relative to."""

    replica_id: str
    committed: int


class IntentFile:
    """The file of one group's intent log; there may be none."""

    def __init__(self, folder: Folder, group: str, region_size: int) -> None:
        """Nothing is opened yet.

        Args:
            folder: where it lives.
            group: the group's name; the file's, too.
            region_size: bytes a bit stands for.
        """
        self._folder = folder
        self._name = f"{group}.intent"
        self._region_size = region_size
        self._log: RecordLog | None = None

    @property
    def exists(self) -> bool:
        """True if there is one on disk."""
        return self._name in self._folder.names()

    @property
    def is_open(self) -> bool:
        """True if records can be appended."""
        return self._log is not None

    @property
    def failed(self) -> bool:
        """True if it takes nothing more before it is replaced: a sync failed."""
        return self._log is not None and self._log.lost_from is not None

    def load(
        self, sizes: Sequence[int], marked: Sequence[BitMap], settled: SettledRegions
    ) -> Base | None:
        """Reads the file back into `marked` and `settled`; returns its base.

        None where it says nothing of what is dirty.

        Raises:
            DataLoss: it is damaged; names file and offset.
        """
        log = self._log = RecordLog(self._folder.open(self._name), self._name)
        base: Base | None = None
        understood = False
        for record in log.load():
            match record.kind:
                case IntentKind.BASE:
                    said = json.loads(log.payload(record))
                    same = said["sizes"] == list(sizes)
                    understood = same and record.b == self._region_size
                    if said["replica_id"]:
                        base = Base(said["replica_id"], record.a)
                case IntentKind.BITMAP:
                    marked[record.volume].update(
                        BitMap.deserialize(log.payload(record))
                    )
                case IntentKind.MARK:
                    marked[record.volume].add_range(record.a, record.b)
                    regions = settled.regions[record.volume]
                    regions.remove_range(record.a, record.b)
                case IntentKind.COPY:
                    replica_id = log.payload(record).decode()
                    settled.start_copy(Copy(replica_id, record.a))
                case IntentKind.SETTLED:
                    settled.regions[record.volume].add_range(record.a, record.b)
                case _:
                    understood = False  # of a newer version
        if not understood:
            settled.start_copy(None)
            return None
        return base

    def append_mark(self, volume: int, first: int, end: int) -> None:
        """Appends a mark of regions [first, end); raises OSError."""
        self.append(records.header(IntentKind.MARK, volume, first, end))

    def append(self, content: bytes) -> None:
        """Appends whole records, where there is a file; raises OSError."""
        if self._log is not None:
            self._log.append(content)

    def sync(self) -> None:
        """Makes what was appended durable, on any thread; raises OSError."""
        if self._log is not None:
            self._log.sync()

    def start(self, sizes: Sequence[int], settled: SettledRegions) -> None:
        """A file that says nothing of what is dirty, to hold what is settled.

        Raises:
            OSError: the disk refused.
        """
        file = self._folder.open(self._name)
        file.truncate(0)
        log = RecordLog(file, self._name)
        log.append(self._base_record(Base("", 0), sizes) + settled.copy_record())
        self._log = log

    def replace(
        self,
        base: Base,
        sizes: Sequence[int],
        marked: Sequence[BitMap],
        *,
        durable: bool,
    ) -> None:
        """Replaces the file in one step; nothing is settled in the new one.

        Raises:
            OSError: the disk refused; the old file holds.
        """
        content = self._base_record(base, sizes)
        for volume, bitmap in enumerate(marked):
            if bitmap:
                payload = bitmap.serialize()
                content += records.header(IntentKind.BITMAP, volume, 0, 0, payload)
                content += payload
        spare = self._folder.open(f"{self._name}.new")
        log = RecordLog(spare, self._name)
        try:
            spare.truncate(0)
            log.append(content)
            if durable:
                log.sync()
            self._folder.rename(f"{self._name}.new", self._name)
        except OSError:
            log.close()
            raise
        self.close()
        self._log = log

    def _base_record(self, base: Base, sizes: Sequence[int]) -> bytes:
        said = {"replica_id": base.replica_id, "sizes": list(sizes)}
        payload = json.dumps(said).encode()
        head = records.header(
            IntentKind.BASE, 0, base.committed, self._region_size, payload
        )
        return head + payload

    def remove(self) -> None:
        """Closes and removes the file."""
        self.close()
        self._folder.remove(self._name)

    def close(self) -> None:
        """Closes the file and keeps it."""
        log, self._log = self._log, None
        if log is not None:
            log.close()
