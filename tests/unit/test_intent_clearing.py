"""A disk that refuses the clearing of the intent log costs time, and no task."""

from __future__ import annotations

import asyncio
import errno
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast
from unittest.mock import AsyncMock, Mock

from blkcolo_primary.runtime.intent_clearing import IntentClearing

if TYPE_CHECKING:
    from blkcolo_primary.core.forwarder import ForwarderCore
    from blkcolo_primary.vm.vm_writes import VmWrites


def test_clearing_that_the_disk_refuses_ends_quietly_and_keeps_the_bits() -> None:
    async def scenario() -> None:
        core = Mock(group="vm", host=True, committed=5, replica_id="copy")
        core.intent.base = None
        core.intent.clearing = False
        core.intent.finish_clear.side_effect = OSError(errno.ENOSPC, "full")
        vm_writes = SimpleNamespace(
            sync_disks=AsyncMock(), intent_sync=SimpleNamespace(idle=AsyncMock())
        )
        clearing = IntentClearing(
            cast("ForwarderCore", core), cast("VmWrites", vm_writes)
        )
        clearing.committed()
        assert clearing._task is not None
        await clearing._task
        core.intent.abandon_clear.assert_called_once()

    asyncio.run(scenario())
