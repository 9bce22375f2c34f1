"""What is said of a group right behind its first commit, before the next look."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from blkcolo.v1 import types_pb2
from blkcolo.v1.primary_pb2 import ForwardStatus
from blkcolo.v1.secondary_pb2 import ReplicaStatus
from blkcolo_coordinator.core.explain import Verb, explain
from blkcolo_coordinator.core.group_record import GroupRecord
from blkcolo_coordinator.core.group_state import Event
from blkcolo_coordinator.record.store import Store
from blkcolo_coordinator.runtime.driven_group import DrivenGroup
from blkcolo_coordinator.runtime.group_facts import facts
from blkcolo_coordinator.settings import CoordinatorSettings

if TYPE_CHECKING:
    from pathlib import Path


async def _replicates() -> ForwardStatus:
    return ForwardStatus(state=types_pb2.FORWARD_STATE_REPLICATING)


async def _receives() -> ReplicaStatus:
    return ReplicaStatus(state=types_pb2.REPLICA_STATE_RECEIVING)


def test_the_first_checkpoint_is_held_as_soon_as_it_is_committed(
    tmp_path: Path,
) -> None:
    pair: Any = SimpleNamespace(
        primary=SimpleNamespace(status=_replicates),
        secondary=SimpleNamespace(status=_receives),
    )
    metrics: Any = None
    settings = CoordinatorSettings(data_dir=tmp_path)
    record = GroupRecord("vm1", "127.0.0.1:1", "127.0.0.1:2")
    store = Store(tmp_path / "store.sqlite")
    group = DrivenGroup(record, store, pair, settings, metrics)

    def held() -> bool:
        found = facts(group.record, group.sides, group.unanswered, group.failure)
        conditions = {each.name: each for each in explain(Verb.FAILOVER, found)}
        return conditions["checkpoint_held"].holds

    asyncio.run(group.ask_both())
    group.advance(Event.STARTED)
    assert not held()
    group.committed(0, "start")
    assert held()
