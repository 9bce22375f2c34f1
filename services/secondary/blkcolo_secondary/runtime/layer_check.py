"""Are the undo layers what was written? Read back behind each complete verify.

A verify compares both disks in stream order. It cannot look at what an undo layer
holds: the primary has overwritten that. But each record has a checksum. So behind a
complete pass every record is read, and what a failover would put on the disk is known
to be what was saved.

A layer that is damaged is told once: a new stream begins with a check as well, and must
come to the checkpoint that drops the layer.

In the background, at most half of the time: no write waits for it. Each layer is read
through a descriptor of its own, since a layer may be dropped meanwhile.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import structlog

from blkcolo.errors import BlkcoloError, translated
from blkcolo.storage import records

if TYPE_CHECKING:
    from collections.abc import Callable

    from blkcolo.storage.files import BlockFile
    from blkcolo_secondary.core.replica import Replica
    from blkcolo_secondary.runtime.slow_work import SlowWork

_log = structlog.get_logger(__name__)

#: Read between two pauses, in bytes.
_PIECE = 4 << 20


class LayerCheck:
    """The checks of one group's undo layers, one at a time.

    Attributes:
        checked_bytes: read and found to be right since the service started.
        damaged_layers: found to be wrong since then.
    """

    def __init__(
        self, replica: Replica, slow: SlowWork, damaged: Callable[[], None]
    ) -> None:
        """Nothing is checked yet.

        Args:
            replica: the core, which is told.
            slow: where is read.
            damaged: called when the core was told.
        """
        self.checked_bytes = self.damaged_layers = 0
        self._replica = replica
        self._slow = slow
        self._damaged = damaged
        self._task: asyncio.Task[None] | None = None
        self._told: set[int] = set()
        self._closing: asyncio.Future[None] | None = None

    def start(self) -> None:
        """Begins, unless one is under way."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(
                self._run(), name=f"check layers {self._replica.group}"
            )

    async def cancel(self) -> None:
        """Ends what is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        layers = self._replica.buffer.layers
        self._told.intersection_update(layers.epochs)
        for epoch in layers.epochs:
            if epoch in self._told:
                continue
            file = layers.reopen(epoch)
            if file is None:
                continue
            try:
                await self._check(epoch, file)
            except BlkcoloError as error:
                self._tell(epoch, error)
            finally:
                # Behind a read that is under way; nobody waits for it.
                self._closing = self._slow.on_check(file.close)

    def _tell(self, epoch: int, error: BlkcoloError) -> None:
        log = _log.bind(group=self._replica.group, epoch=epoch)
        log.error("undo layer damaged", error=str(error))
        self.damaged_layers += 1
        self._told.add(epoch)
        try:
            self._replica.checkpoints.layer_damaged(epoch, error)
        except BlkcoloError as unstored:
            self._told.discard(epoch)  # the next check finds it again
            log.error("kept checkpoints not given up", error=str(unstored))  # noqa: TRY400 - no program error
        self._damaged()

    async def _check(self, epoch: int, file: BlockFile) -> None:
        """Reads one layer from end to end; less of it where it is dropped meanwhile.

        Raises:
            BlkcoloError: a record is not what was appended, or cannot be read.
        """
        loop = asyncio.get_running_loop()
        position = 0
        while position < (end := self._replica.buffer.layers.end_of(epoch)):
            began, name = loop.time(), f"undo-{epoch}"
            check = partial(records.check, file, name, position, _PIECE, end)
            with translated(f"reading {name} back"):
                position, before = await self._slow.on_check(check), position
            self.checked_bytes += position - before
            await asyncio.sleep(loop.time() - began)
