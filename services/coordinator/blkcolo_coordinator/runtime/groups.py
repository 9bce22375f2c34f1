"""All groups of the coordinator: created, found, deleted."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from blkcolo.addresses import Address
from blkcolo.errors import BlkcoloError, Invalid, Reason, Refused, Unavailable
from blkcolo.wakeup import Wakeup
from blkcolo_coordinator.core import events
from blkcolo_coordinator.core.group_record import GroupRecord
from blkcolo_coordinator.core.group_state import GroupState
from blkcolo_coordinator.core.policy import Policy
from blkcolo_coordinator.peers.node_channel import NodeChannels
from blkcolo_coordinator.peers.pair import Pair
from blkcolo_coordinator.record.store import Store
from blkcolo_coordinator.runtime.group_driver import GroupDriver

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from blkcolo.rpc.client import Dialer
    from blkcolo_coordinator.record.event_table import EventTable
    from blkcolo_coordinator.runtime.counts import CoordinatorMetrics
    from blkcolo_coordinator.settings import CoordinatorSettings, GroupSettings

_log = structlog.get_logger(__name__)


class Groups:
    """The drivers by group, kept equal to the store."""

    def __init__(
        self,
        settings: CoordinatorSettings,
        metrics: CoordinatorMetrics,
        dialer: Dialer,
    ) -> None:
        """Takes the options; `open` begins."""
        self._dialer = dialer
        self._channels = NodeChannels(dialer)
        self.drivers: dict[str, GroupDriver] = {}
        self.changed = Wakeup()
        self._settings = settings
        self._metrics = metrics
        self._store: Store | None = None

    def open(self, path: Path) -> None:
        """Reads the store, adds what the configuration names, starts all.

        Raises:
            DataLoss: the store is damaged.
        """
        store = self._store = Store(path)
        records = {record.name: record for record in store.groups()}
        for group in self._settings.groups:
            known, record = records.get(group.name), _record(group)
            if known is not None:
                record = _configured(known, record)
            self._save(store, known, record)
            records[group.name] = record
        for record in records.values():
            self._drive(store, self._begun(store, record))

    @staticmethod
    def _save(store: Store, known: GroupRecord | None, record: GroupRecord) -> None:
        found = events.between_records(known, record, time.time())
        look = store.look(record.name) if found else None
        store.save(record, durable=True, events=found, look=look)

    def _begun(self, store: Store, record: GroupRecord) -> GroupRecord:
        """What was protected is starting: only a checkpoint of this run says more."""
        if record.state is not GroupState.PROTECTED:
            return record
        begun = replace(record, state=GroupState.STARTING)
        self._save(store, record, begun)
        return begun

    def _drive(self, store: Store, record: GroupRecord) -> GroupDriver:
        timeout = self._settings.call_timeout_seconds
        driver = GroupDriver(
            record,
            store,
            Pair(record, timeout, self._channels),
            self._settings,
            self._metrics,
        )
        driver.changed = self.changed
        self.drivers[record.name] = driver
        self._metrics.add_group(record.name)
        driver.start()
        return driver

    async def reload(
        self, configured: Sequence[GroupSettings], changed: frozenset[str]
    ) -> frozenset[str]:
        """Takes over what the configuration says of groups now.

        New groups start, and changed policies are in force. A group that is no longer
        named stays, as one that was created by a call.

        Returns:
            The keys of `changed` that are in force; others need a restart.

        Raises:
            BlkcoloError: the store refused.
        """
        taken: set[str] = set()
        for group in configured:
            key = f"groups[{group.name}]"
            if key in changed and group.name not in self.drivers:
                self.create(_record(group))
                taken.add(key)
            policy = {each for each in changed if each.startswith(f"{key}.policy.")}
            if policy:
                await self.find(group.name).set_policy(_record(group).policy)
                taken |= policy
        named = [group.name for group in configured]
        for name in self.drivers:
            if name not in named and f"groups[{name}]" in changed:
                _log.warning("not configured any more, stays until deleted", group=name)
                taken.add(f"groups[{name}]")
        return frozenset(taken)

    def find(self, name: str) -> GroupDriver:
        """The group of this name.

        Raises:
            BlkcoloError: there is none; says which there are.
        """
        driver = self.drivers.get(name)
        if driver is None:
            known = ", ".join(self.drivers) or "none"
            raise Invalid(
                Reason.WRONG_GROUP,
                f"no group {name!r} on this coordinator (it has: {known});"
                " check the name",
            )
        return driver

    def create(self, record: GroupRecord) -> GroupDriver:
        """Adds a group and starts it.

        Raises:
            BlkcoloError: there is one of this name, or its peers must not be called.
        """
        self.check_addresses(record)
        if record.name in self.drivers or self._store is None:
            raise BlkcoloError(
                Reason.GROUP_EXISTS,
                f"group {record.name} exists; update it, or choose another name",
            )
        self._save(self._store, None, record)
        return self._drive(self._store, record)

    def check_addresses(self, record: GroupRecord) -> None:
        """Raises Refused if a peer would be called in plain text and must not be."""
        for address in (record.primary_address, record.secondary_address):
            self._dialer.check(Address.parse(address))

    @property
    def events(self) -> EventTable:
        """What happened.

        Raises:
            Unavailable: nothing is opened yet.
        """
        if self._store is None:
            raise Unavailable(Reason.STOPPING, "the store is not open; ask again")
        return self._store.events

    async def delete(self, name: str) -> None:
        """Forgets a group.

        Raises:
            Refused: it has a checkpoint, and is neither stopped nor failed over.
        """
        driver = self.find(name)
        state, ended = driver.record.state, (GroupState.STOPPED, GroupState.FAILED_OVER)
        if state not in ended and driver.record.committed is not None:
            raise Refused(
                Reason.WRONG_STATE,
                f"group {name} is {state.name}: deleting it needs it to be STOPPED or"
                " FAILED_OVER; stop it first",
            )
        del self.drivers[name]
        await driver.close()
        if self._store is not None and name not in self.drivers:  # created again
            gone = events.between_records(driver.record, None, time.time())
            self._store.delete(name, gone)
        self.changed.fire()

    async def close(self) -> None:
        """Ends all."""
        for driver in self.drivers.values():
            await driver.close()
        if self._store is not None:
            self._store.close()


def _record(group: GroupSettings) -> GroupRecord:
    """What the configuration says of a group."""
    policy = Policy(**group.policy.model_dump())
    return GroupRecord(group.name, str(group.primary), str(group.secondary), policy)


def _configured(known: GroupRecord, told: GroupRecord) -> GroupRecord:
    """The record with what the configuration says; roles are never changed by it."""
    before = known.primary_address, known.secondary_address
    swapped = (told.primary_address, told.secondary_address) == before[::-1]
    return replace(
        known,
        primary_address=told.primary_address,
        secondary_address=told.secondary_address,
        policy=told.policy,
        reversed=known.reversed is not swapped,
    )
