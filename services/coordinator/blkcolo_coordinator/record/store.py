"""What the coordinator must remember, in SQLite: one row a group, and the last events.

What a change is told by is written in one transaction with it. A generation is on disk
(synchronous=FULL) before anybody hears of it. Committed numbers are written without a
sync of their own: the secondary knows the truth.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import lru_cache
from typing import TYPE_CHECKING

from blkcolo.errors import DataLoss, Exhausted, Reason, from_os_error
from blkcolo.storage import reserve
from blkcolo.storage.posix_files import PosixFolder
from blkcolo_coordinator.core.events import Look
from blkcolo_coordinator.core.group_record import GroupRecord
from blkcolo_coordinator.core.group_state import GroupState
from blkcolo_coordinator.core.policy import Policy
from blkcolo_coordinator.record import event_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from blkcolo_coordinator.core.events import GroupEvent

#: Room for what must be stored where the disk is full.
_RESERVE_BYTES = 128 << 10
_VERSION = 5
_SCHEMA = """
CREATE TABLE groups (
    name TEXT PRIMARY KEY,
    primary_address TEXT NOT NULL,
    secondary_address TEXT NOT NULL,
    policy TEXT NOT NULL,
    generation INTEGER NOT NULL,
    state INTEGER NOT NULL,
    paused INTEGER NOT NULL,
    committed INTEGER,
    committed_at REAL NOT NULL,
    trigger_name TEXT NOT NULL,
    reversed INTEGER NOT NULL DEFAULT 0,
    loser INTEGER NOT NULL DEFAULT 0,
    fenced_clean INTEGER NOT NULL DEFAULT 0,
    failed_over_at REAL NOT NULL DEFAULT 0,
    failover_to INTEGER,
    failover_forced INTEGER NOT NULL DEFAULT 0
) STRICT
"""
_LOOKS = "CREATE TABLE looks (name TEXT PRIMARY KEY, told TEXT NOT NULL) STRICT"
#: The version that brought it, and what brings an older database there.
_CHANGES = (
    (2, "ALTER TABLE groups ADD COLUMN reversed INTEGER NOT NULL DEFAULT 0"),
    (2, "ALTER TABLE groups ADD COLUMN loser INTEGER NOT NULL DEFAULT 0"),
    (2, "ALTER TABLE groups ADD COLUMN fenced_clean INTEGER NOT NULL DEFAULT 0"),
    (2, "ALTER TABLE groups ADD COLUMN failed_over_at REAL NOT NULL DEFAULT 0"),
    (3, "ALTER TABLE groups ADD COLUMN failover_to INTEGER"),
    (4, event_table.SCHEMA),
    (4, _LOOKS),
    (5, "ALTER TABLE groups ADD COLUMN failover_forced INTEGER NOT NULL DEFAULT 0"),
)


@lru_cache(maxsize=1024)
def _policy(policy: Policy) -> str:
    """As it is stored; kept, since it is written again with every checkpoint."""
    return json.dumps(asdict(policy))


class Store:
    """The database file."""

    def __init__(self, path: Path) -> None:
        """Opens or creates it.

        Raises:
            DataLoss: it is damaged, or of a newer version; names the file.
        """
        self._path = path
        self._level = ""
        try:
            self._database = sqlite3.connect(path, isolation_level=None)
            self._database.execute("PRAGMA journal_mode=WAL")
            (version,) = self._database.execute("PRAGMA user_version").fetchone()
            if version == 0:
                for table in (_SCHEMA, event_table.SCHEMA, _LOOKS):
                    self._database.execute(table)
            for brought_by, change in _CHANGES:
                if 0 < version < brought_by:
                    self._database.execute(change)
            if version < _VERSION:
                self._database.execute(f"PRAGMA user_version={_VERSION}")
            (sound,) = self._database.execute("PRAGMA quick_check").fetchone()
        except sqlite3.DatabaseError as error:
            raise self._unusable(str(error)) from error
        if sound != "ok":
            raise self._unusable(sound)
        if version > _VERSION:
            newer = f"version {version}, this program knows {_VERSION}"
            raise self._unusable(newer)
        self.events = event_table.EventTable(self._database)
        self._folder = PosixFolder(path.parent)
        with suppress(Exhausted):  # a full disk forbids no start; the next one tries
            reserve.fill(self._folder, self._reserve, _RESERVE_BYTES)

    @property
    def _reserve(self) -> str:
        return f"{self._path.name}.reserve"

    def _unusable(self, why: str) -> DataLoss:
        return DataLoss(
            Reason.DISK_ERROR,
            f"{self._path}: {why}; restore it or run the version that wrote it, or"
            " move it away: generations are then learnt from primary and secondary",
        )

    def groups(self) -> list[GroupRecord]:
        """All groups, by name."""
        rows = self._database.execute("SELECT * FROM groups ORDER BY name").fetchall()
        return [
            GroupRecord(
                name,
                primary,
                secondary,
                Policy(**json.loads(policy)),
                generation,
                GroupState(state),
                bool(paused),
                committed,
                committed_at,
                trigger,
                bool(swapped),
                loser,
                bool(fenced_clean),
                failed_over_at,
                failover_to,
                bool(failover_forced),
            )
            for (
                name,
                primary,
                secondary,
                policy,
                generation,
                state,
                paused,
                committed,
                committed_at,
                trigger,
                swapped,
                loser,
                fenced_clean,
                failed_over_at,
                failover_to,
                failover_forced,
            ) in rows
        ]

    def look(self, name: str) -> Look:
        """What was told of a group's sides."""
        query = "SELECT told FROM looks WHERE name = ?"
        row = self._database.execute(query, (name,)).fetchone()
        return Look(**json.loads(row[0])) if row is not None else Look()

    def save(
        self,
        record: GroupRecord,
        *,
        durable: bool,
        events: Sequence[GroupEvent] = (),
        look: Look | None = None,
    ) -> None:
        """Writes a group, and what is told of it, in one step.

        What must be durable, as a failover's generation, has room of its own where the
        disk is full.

        Args:
            record: the group.
            durable: it survives power loss when this returns.
            events: what has changed.
            look: what was told of its sides; None: what was told before.

        Raises:
            BlkcoloError: the disk refused; nothing is written.
        """
        try:
            self._write(record, durable=durable, events=events, look=look)
        except Exhausted:
            if not durable:
                raise
            reserve.release(self._folder, self._reserve)
            self._write(record, durable=durable, events=events, look=look)

    def _write(
        self,
        record: GroupRecord,
        *,
        durable: bool,
        events: Sequence[GroupEvent],
        look: Look | None,
    ) -> None:
        row = (
            record.name,
            record.primary_address,
            record.secondary_address,
            _policy(record.policy),
            record.generation,
            int(record.state),
            int(record.paused),
            record.committed,
            record.committed_at,
            record.trigger_name,
            int(record.reversed),
            record.loser,
            int(record.fenced_clean),
            record.failed_over_at,
            record.failover_to,
            int(record.failover_forced),
        )
        marks = ", ".join("?" * len(row))
        with self._writing(events):
            self._synchronous("FULL" if durable else "NORMAL")
            self._database.execute("BEGIN IMMEDIATE")
            self._database.execute(
                f"INSERT OR REPLACE INTO groups VALUES ({marks})",  # noqa: S608 - marks
                row,
            )
            if look is not None:
                told = json.dumps(asdict(look))
                self._database.execute(
                    "INSERT OR REPLACE INTO looks VALUES (?, ?)", (record.name, told)
                )

    def _synchronous(self, level: str) -> None:
        """Says what is synced from here on, where that is not in force already."""
        if level != self._level:
            self._database.execute(f"PRAGMA synchronous={level}")
            self._level = level

    def delete(self, name: str, events: Sequence[GroupEvent] = ()) -> None:
        """Forgets a group, and tells that.

        Raises:
            BlkcoloError: the disk refused; nothing is written.
        """
        with self._writing(events):
            self._database.execute("BEGIN IMMEDIATE")
            for table in ("groups", "looks"):
                self._database.execute(
                    f"DELETE FROM {table} WHERE name = ?",  # noqa: S608 - of the tuple
                    (name,),
                )

    @contextmanager
    def _writing(self, events: Sequence[GroupEvent]) -> Iterator[None]:
        """Ends a transaction that the block begins: with the events, or not at all."""
        try:
            yield
            if events:
                self.events.append(events)
            self._database.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            cause = OSError(28 if "full" in str(error) else 5, str(error))
            raise from_os_error(cause, f"writing {self._path}") from error
        if events:
            self.events.tell()

    def close(self) -> None:
        """Closes the file."""
        self._database.close()
