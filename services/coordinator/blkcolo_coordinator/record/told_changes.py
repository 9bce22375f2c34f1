"""What is told of one group, and what of that still waits for the disk."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from blkcolo.errors import BlkcoloError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blkcolo_coordinator.core.events import GroupEvent, Told
    from blkcolo_coordinator.core.group_record import GroupRecord
    from blkcolo_coordinator.record.store import Store

#: So many events wait at most while the disk refuses them; the oldest go first.
_WAITING = 1000


class ToldChanges:
    """The events of one group on their way into the store."""

    def __init__(self, store: Store, group: str) -> None:
        """Goes on with what an earlier run told."""
        self._store = store
        self._waiting: list[GroupEvent] = []
        self.look = store.look(group)

    def save(
        self, record: GroupRecord, *, durable: bool, events: Sequence[GroupEvent] = ()
    ) -> None:
        """Stores a record, with all that is to be told.

        Raises:
            BlkcoloError: the disk refused. With `durable` nothing has happened;
                without, it has, and is told with the next record.
        """
        waiting = [*self._waiting, *events][-_WAITING:]
        look = self.look if waiting else None
        try:
            self._store.save(record, durable=durable, events=waiting, look=look)
        except BlkcoloError:
            if not durable:
                self._waiting = waiting
            raise
        self._waiting = []

    def seen(self, record: GroupRecord, told: Told) -> None:
        """Takes over what is told of the sides; that ends nothing where it fails."""
        self.look, found = told
        if found:
            # They wait in memory then, and go with the next record.
            with contextlib.suppress(BlkcoloError):
                self.save(record, durable=False, events=found)
