"""The VM's writes on a survivor: each is marked before it is done.

The marks say where this disk leaves the checkpoint that it was failed over to. Where
power loss is to be survived, a write waits until its mark is durable.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import structlog

from blkcolo.intent.sync import IntentSync

if TYPE_CHECKING:
    import asyncio

    from blkcolo_secondary.core.replica import Replica
    from blkcolo_secondary.runtime.slow_work import SlowWork

_log = structlog.get_logger(__name__)


class SurvivorWrites:
    """The marks of one group's writes; none before a failover."""

    def __init__(self, replica: Replica, slow: SlowWork) -> None:
        """Takes the core, and where marks are synced."""
        self._replica = replica
        self._marks = IntentSync(
            replica.intent, replica.intend, slow.on_disk, self._not_durable
        )

    def admit(
        self, volume: int, offset: int, length: int
    ) -> asyncio.Future[None] | None:
        """None if a write may come; see `nbd.export.Export`."""
        if self._replica.tracks and self._replica.options.host_durable:
            return self._marks.wait_for(volume, offset, length)
        return None

    def intend(self, volume: int, offset: int, length: int) -> None:
        """Marks a write that is about to be done; raises OSError: it must not be."""
        replica = self._replica
        replica.intend(volume, offset, length)
        durable = not replica.options.host_durable or not replica.tracks
        if not durable and replica.intent.unsynced(volume, offset, length):
            raise OSError(errno.EIO, "the intent log is not durable")

    def _not_durable(self, error: OSError) -> None:
        """The write meets the refusal; its client learns of it."""
        _log.error(
            "intent log not durable", group=self._replica.group, error=str(error)
        )
