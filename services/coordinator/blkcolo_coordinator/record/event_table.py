"""The last events of all groups, numbered without a gap, in the store's database."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from blkcolo.errors import Reason
from blkcolo.wakeup import Wakeup
from blkcolo_coordinator.core.events import GroupEvent, Kind, Moment

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

#: So many are kept.
KEPT = 10_000
SCHEMA = """
CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    at REAL NOT NULL,
    kind INTEGER NOT NULL,
    reason INTEGER NOT NULL,
    message TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    before TEXT NOT NULL,
    after TEXT NOT NULL
) STRICT
"""
_COLUMNS = "name, at, kind, reason, message, epoch, generation, before, after"


class Numbered(NamedTuple):
    """An event and its number."""

    seq: int
    event: GroupEvent


class EventTable:
    """The table; whoever appends holds a transaction, and calls `tell` after it."""

    def __init__(self, database: sqlite3.Connection) -> None:
        """Takes the store's database."""
        self._database = database
        self.changed = Wakeup()

    def append(self, events: Iterable[GroupEvent]) -> None:
        """Numbers them, and drops the oldest above the bound."""
        self._database.executemany(
            f"INSERT INTO events ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - a constant
            [
                (
                    event.moment.group,
                    event.moment.at,
                    int(event.kind),
                    int(event.reason),
                    event.message,
                    event.moment.epoch,
                    event.moment.generation,
                    event.before,
                    event.after,
                )
                for event in events
            ],
        )
        self._database.execute(
            "DELETE FROM events WHERE seq <= (SELECT max(seq) FROM events) - ?",
            (KEPT,),
        )

    def tell(self) -> None:
        """What was appended is on disk: wakes all that wait for it."""
        self.changed.fire()

    def bounds(self) -> tuple[int, int]:
        """The oldest and the newest number; 1 and 0 where there is no event."""
        query = "SELECT coalesce(min(seq), 1), coalesce(max(seq), 0) FROM events"
        oldest, newest = self._database.execute(query).fetchone()
        return oldest, newest

    def after(self, seq: int, group: str, limit: int) -> list[Numbered]:
        """The next events behind a number, in order.

        Args:
            seq: 0: from the oldest kept one on.
            group: empty: of all groups.
            limit: so many at most.
        """
        rows = self._database.execute(
            f"SELECT seq, {_COLUMNS} FROM events"  # noqa: S608 - a constant
            " WHERE seq > ? AND (? = '' OR name = ?) ORDER BY seq LIMIT ?",
            (seq, group, group, limit),
        )
        return [_event(*row) for row in rows]

    def last(self, limit: int) -> list[Numbered]:
        """The newest ones of all groups, in order."""
        _, newest = self.bounds()
        return self.after(max(newest - limit, 0), "", limit)


def _event(
    seq: int,
    name: str,
    at: float,
    kind: int,
    reason: int,
    message: str,
    epoch: int,
    generation: int,
    before: str,
    after: str,
) -> Numbered:
    moment = Moment(name, at, epoch, generation)
    return Numbered(
        seq, GroupEvent(moment, Kind(kind), message, Reason(reason), before, after)
    )
