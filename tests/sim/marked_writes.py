"""VM writes that wait until their marks are durable (`durability: host`).

Stands in for `blkcolo.intent.sync`: one fdatasync of the intent log at a time; writes
that come meanwhile share the next one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from blkcolo.intent.log import IntentLog
    from tests.sim.vm import VmWrite
    from tests.sim.world import World


class MarkedWrites:
    """What waits on one host, in one role."""

    def __init__(
        self,
        world: World,
        name: str,
        intent: IntentLog,
        mark: Callable[[int, int, int], object],
        failed: Callable[[OSError], None],
    ) -> None:
        """Takes the log.

        Args:
            world: where it is.
            name: the host's.
            intent: the log.
            mark: marks volume, offset and length in it; raises OSError.
            failed: learns why a sync failed.
        """
        self._world = world
        self._name = name
        self._intent = intent
        self._mark = mark
        self._failed = failed
        self._waiting: list[VmWrite] = []
        self.syncing = False

    def __len__(self) -> int:
        """How many writes wait."""
        return len(self._waiting)

    def come(self, write: VmWrite) -> bool:
        """Marks the write; True if it is not to be done now: it waits or is refused."""
        try:
            self._mark(write.volume, write.offset, write.length)
        except OSError:
            return True
        if not self._intent.unsynced(write.volume, write.offset, write.length):
            return False
        self._waiting.append(write)
        self._sync()
        return True

    def _sync(self) -> None:
        if self.syncing or not self._waiting:
            return
        self.syncing = True
        waiting, self._waiting = self._waiting, []
        started = self._intent.start_sync()

        def done() -> None:
            try:
                self._intent.sync()
            except OSError as error:
                self._intent.end_sync(started, durable=False)
                self._failed(error)
            else:
                self._intent.end_sync(started, durable=True)
            self.syncing = False
            for write in waiting:
                self._world.write_on(self._name, write)
            self._sync()

        slowest = 0.1 if self._world.rng.random() < 0.1 else 0.01
        self._world.later(self._name, self._world.rng.uniform(0, slowest), done)
