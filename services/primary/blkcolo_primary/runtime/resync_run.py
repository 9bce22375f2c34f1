"""The resync of one stream at run time: its comparison, and the syncs it asks for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from blkcolo.errors import from_os_error
from blkcolo_primary.core.forward_state import ForwardState
from blkcolo_primary.runtime.comparison_run import ComparisonRun

if TYPE_CHECKING:
    from blkcolo.wakeup import Wakeup
    from blkcolo_primary.core.forward_stream import ForwardStream
    from blkcolo_primary.core.forwarder import ForwarderCore
    from blkcolo_primary.vm.vm_writes import VmWrites


class ResyncRun:
    """Runs the resync of a stream that stands."""

    def __init__(
        self,
        core: ForwarderCore,
        stream: ForwardStream,
        vm_writes: VmWrites,
        *,
        work: Wakeup,
        changed: Wakeup,
    ) -> None:
        """Takes the group and its stream; see `ComparisonRun`."""
        self.comparison = stream.resync
        self._core = core
        self._settler = stream.settler
        self._vm_writes = vm_writes
        self._work = work
        self._changed = changed
        self._paced = ComparisonRun(
            stream.resync,
            core.resync_step,
            lambda: vm_writes.served_bytes,
            work=work,
            changed=changed,
        )

    @property
    def rate(self) -> float | None:
        """Bytes a second that are compared; None when it does not run."""
        running = self._core.state is ForwardState.RESYNCING
        return self._paced.rate if running else None

    @property
    def eta_seconds(self) -> float | None:
        """Seconds until it is complete; None if unknown, or when it does not run."""
        running = self._core.state is ForwardState.RESYNCING
        return self._paced.eta_seconds if running else None

    async def run(self) -> None:
        """Runs until both sides agree, or the stream is lost.

        Raises:
            BlkcoloError: a disk, or the intent log, refused.
        """
        async with asyncio.TaskGroup() as tasks:
            syncing = tasks.create_task(self._sync_settled())
            await self._paced.run(lambda: self._core.state is ForwardState.RESYNCING)
            syncing.cancel()

    async def _sync_settled(self) -> None:
        """Syncs the disks for what is being settled, where that is due."""
        while True:
            if self._settler.needs_sync:
                self._work.fire()
                try:
                    await self._vm_writes.sync_disks()
                except OSError as error:
                    raise from_os_error(error, "syncing the disks") from error
                self._settler.disks_synced()
            await self._changed.wait()
