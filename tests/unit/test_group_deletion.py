"""A group that is created again while its namesake is being deleted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from blkcolo.rpc.client import Dialer
from blkcolo_coordinator.core.group_record import GroupRecord
from blkcolo_coordinator.record.store import Store
from blkcolo_coordinator.runtime.counts import CoordinatorMetrics
from blkcolo_coordinator.runtime.groups import Groups
from blkcolo_coordinator.settings import CoordinatorSettings

if TYPE_CHECKING:
    from pathlib import Path


def test_group_that_is_created_while_its_namesake_goes_is_kept(tmp_path: Path) -> None:
    async def scenario() -> None:
        settings = CoordinatorSettings(data_dir=tmp_path)
        groups = Groups(settings, CoordinatorMetrics(), Dialer())
        groups.open(tmp_path / "store.sqlite")
        groups.create(GroupRecord("vm1", "127.0.0.1:1", "127.0.0.1:2"))
        deletion = asyncio.create_task(groups.delete("vm1"))
        await asyncio.sleep(0)
        assert "vm1" not in groups.drivers
        groups.create(GroupRecord("vm1", "127.0.0.1:3", "127.0.0.1:4"))
        await deletion
        await groups.close()

    asyncio.run(scenario())
    store = Store(tmp_path / "store.sqlite")
    assert [record.primary_address for record in store.groups()] == ["127.0.0.1:3"]
    store.close()
