"""When the bits of an intent log are cleared: lazily, some time after a commit."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from blkcolo.errors import from_os_error
from blkcolo_primary.core import intent_bits

if TYPE_CHECKING:
    from blkcolo_primary.core.forwarder import ForwarderCore
    from blkcolo_primary.vm.vm_writes import VmWrites

_log = structlog.get_logger(__name__)

#: The intent log is cleared this often at most, in seconds.
_CLEAR_SECONDS = 5.0


class IntentClearing:
    """Clears the intent log of one group."""

    def __init__(self, core: ForwarderCore, vm_writes: VmWrites) -> None:
        """Takes the group."""
        self._core = core
        self._vm_writes = vm_writes
        self._task: asyncio.Task[None] | None = None
        self._cleared_at = 0.0

    def committed(self) -> None:
        """A checkpoint is committed: clears what it made superfluous, if that is due.

        Raises:
            BlkcoloError: the disk refused; bits that stay cost time only.
        """
        core, now = self._core, asyncio.get_running_loop().time()
        waited = now - self._cleared_at >= _CLEAR_SECONDS
        due = intent_bits.are_foreign(core) or (waited and core.intent.stale_regions)
        if not due or core.intent.clearing:
            return
        self._cleared_at = now
        core.intent.start_clear()
        if core.host:
            self._task = asyncio.create_task(
                self._clear_durably(), name=f"clear {core.group}"
            )
            return
        try:
            intent_bits.finish_clear(core, durable=False)
        except OSError as error:
            raise from_os_error(error, "clearing the intent log") from error

    async def _clear_durably(self) -> None:
        """Syncs the disks before the bits of their writes go."""
        try:
            await self._vm_writes.sync_disks()
            await self._vm_writes.intent_sync.idle()
            intent_bits.finish_clear(self._core, durable=True)
        except OSError as error:
            self._core.intent.abandon_clear()
            _log.warning(
                "intent log not cleared: a resync compares more than it must",
                group=self._core.group,
                error=str(error),
            )

    async def close(self) -> None:
        """Ends what is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
