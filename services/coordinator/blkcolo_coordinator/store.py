"""What the coordinator must remember: one row a group, in SQLite.

A generation is on disk (synchronous=FULL) before anybody hears of it. Committed
numbers are written without a sync of their own: the secondary knows the truth.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from blkcolo.errors import DataLoss, Reason, from_os_error
from blkcolo_coordinator.group_state import GroupState
from blkcolo_coordinator.policy import Policy

if TYPE_CHECKING:
    from pathlib import Path

_VERSION = 3
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
    failover_to INTEGER
) STRICT
"""
#: The version that brought it, and what brings an older database there.
_CHANGES = (
    (2, "ALTER TABLE groups ADD COLUMN reversed INTEGER NOT NULL DEFAULT 0"),
    (2, "ALTER TABLE groups ADD COLUMN loser INTEGER NOT NULL DEFAULT 0"),
    (2, "ALTER TABLE groups ADD COLUMN fenced_clean INTEGER NOT NULL DEFAULT 0"),
    (2, "ALTER TABLE groups ADD COLUMN failed_over_at REAL NOT NULL DEFAULT 0"),
    (3, "ALTER TABLE groups ADD COLUMN failover_to INTEGER"),
)


@dataclass(frozen=True)
class GroupRecord:
    """One group.

    Attributes:
        name: its name.
        primary_address: the side that the configuration calls primary.
        secondary_address: the other one.
        policy: when checkpoints are taken.
        generation: the newest one that was given.
        state: see `group_state`.
        paused: automatic checkpoints are suspended.
        committed: the last committed epoch.
        committed_at: when that was, in seconds since 1970; 0 before the first.
        trigger_name: why it was taken.
        reversed: the roles are not those of the configuration.
        loser: the Side that a reprotect gives up, while one is under way; or 0.
        fenced_clean: a switchover fenced the primary, and lost nothing.
        failed_over_at: when the last failover ended, as `committed_at`.
        failover_to: the checkpoint that the last failover was asked to lead to; None:
            the last committed one.
    """

    name: str
    primary_address: str
    secondary_address: str
    policy: Policy = field(default_factory=Policy)
    generation: int = 1
    state: GroupState = GroupState.STARTING
    paused: bool = False
    committed: int | None = None
    committed_at: float = 0.0
    trigger_name: str = ""
    reversed: bool = False
    loser: int = 0
    fenced_clean: bool = False
    failed_over_at: float = 0.0
    failover_to: int | None = None

    @property
    def primary_now(self) -> str:
        """The primary's address."""
        return self.secondary_address if self.reversed else self.primary_address

    @property
    def secondary_now(self) -> str:
        """The secondary's address."""
        return self.primary_address if self.reversed else self.secondary_address


class Store:
    """The database file."""

    def __init__(self, path: Path) -> None:
        """Opens or creates it.

        Raises:
            DataLoss: it is damaged, or of a newer version; names the file.
        """
        self._path = path
        try:
            self._database = sqlite3.connect(path, isolation_level=None)
            self._database.execute("PRAGMA journal_mode=WAL")
            (version,) = self._database.execute("PRAGMA user_version").fetchone()
            if version == 0:
                self._database.execute(_SCHEMA)
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
            ) in rows
        ]

    def save(self, record: GroupRecord, *, durable: bool) -> None:
        """Writes a group; with `durable`, it survives power loss when this returns.

        Raises:
            BlkcoloError: the disk refused.
        """
        row = (
            record.name,
            record.primary_address,
            record.secondary_address,
            json.dumps(asdict(record.policy)),
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
        )
        marks = ", ".join("?" * len(row))
        level = "FULL" if durable else "NORMAL"
        try:
            self._database.execute(f"PRAGMA synchronous={level}")
            self._database.execute(
                f"INSERT OR REPLACE INTO groups VALUES ({marks})",  # noqa: S608 - marks
                row,
            )
        except sqlite3.OperationalError as error:
            cause = OSError(28 if "full" in str(error) else 5, str(error))
            raise from_os_error(cause, f"writing {self._path}") from error

    def delete(self, name: str) -> None:
        """Forgets a group."""
        self._database.execute("DELETE FROM groups WHERE name = ?", (name,))

    def close(self) -> None:
        """Closes the file."""
        self._database.close()
