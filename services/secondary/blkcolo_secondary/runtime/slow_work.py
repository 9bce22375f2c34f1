"""Threads for system calls that may take seconds; none waits for another kind.

buffer    fdatasync of undo layers and overlays, and closing them: one after the
other, so that no file is closed while it is synced
disk      fdatasync of the disks and the journal, at a commit
removal   unlink of large files
check     reading undo layers back
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from blkcolo.errors import translated

if TYPE_CHECKING:
    from collections.abc import Callable

    from blkcolo_secondary.buffer.save_and_write import Sync

T = TypeVar("T")


class SlowWork:
    """One thread for each kind of one group's slow calls."""

    def __init__(self, group: str) -> None:
        """Takes the group's name, for the threads' names."""
        self._buffer = ThreadPoolExecutor(1, f"buffer-{group}")
        self._disk = ThreadPoolExecutor(1, f"disk-{group}")
        self._removal = ThreadPoolExecutor(1, f"removal-{group}")
        self._check = ThreadPoolExecutor(1, f"check-{group}")

    def on_buffer(self, work: Callable[[], None]) -> asyncio.Future[None]:
        """Syncs or closes files of the Disk Buffer."""
        return asyncio.get_running_loop().run_in_executor(self._buffer, work)

    def on_disk(self, work: Callable[[], None]) -> asyncio.Future[None]:
        """Syncs the disks or the journal."""
        return asyncio.get_running_loop().run_in_executor(self._disk, work)

    def on_removal(self, work: Callable[[], None]) -> asyncio.Future[None]:
        """Removes files."""
        return asyncio.get_running_loop().run_in_executor(self._removal, work)

    def on_check(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Reads files of the Disk Buffer back."""
        return asyncio.get_running_loop().run_in_executor(self._check, work)

    async def carry_out(self, sync: Sync) -> None:
        """Makes durable what a step of the core asks for; raises BlkcoloError."""
        with translated("making the Disk Buffer durable"):
            await self.on_buffer(sync.run)

    def close(self) -> None:
        """Waits for what is under way, and ends the threads."""
        for pool in (self._buffer, self._disk, self._removal, self._check):
            pool.shutdown()
