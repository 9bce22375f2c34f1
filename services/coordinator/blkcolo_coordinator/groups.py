"""All groups of the coordinator: created, found, deleted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from blkcolo.addresses import Address
from blkcolo.errors import BlkcoloError, Invalid, Reason, Refused
from blkcolo.wakeup import Wakeup
from blkcolo_coordinator.group_driver import GroupDriver
from blkcolo_coordinator.group_state import GroupState
from blkcolo_coordinator.pair import Pair
from blkcolo_coordinator.policy import Policy
from blkcolo_coordinator.store import GroupRecord, Store

if TYPE_CHECKING:
    from pathlib import Path

    from blkcolo.grpc_client import Dialer
    from blkcolo_coordinator.metrics import CoordinatorMetrics
    from blkcolo_coordinator.settings import CoordinatorSettings


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
            policy = Policy(**group.policy.model_dump())
            addresses = (str(group.primary), str(group.secondary))
            known = records.get(group.name)
            record = (
                GroupRecord(group.name, *addresses, policy)
                if known is None
                else _configured(known, addresses, policy)
            )
            store.save(record, durable=True)
            records[group.name] = record
        for record in records.values():
            self._drive(store, record)

    def _drive(self, store: Store, record: GroupRecord) -> GroupDriver:
        timeout = self._settings.call_timeout_seconds
        driver = GroupDriver(
            record,
            store,
            Pair(record, timeout, self._dialer),
            self._settings,
            self._metrics,
        )
        driver.changed = self.changed
        self.drivers[record.name] = driver
        self._metrics.add_group(record.name)
        driver.start()
        return driver

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
        self._store.save(record, durable=True)
        return self._drive(self._store, record)

    def check_addresses(self, record: GroupRecord) -> None:
        """Raises Refused if a peer would be called in plain text and must not be."""
        for address in (record.primary_address, record.secondary_address):
            self._dialer.check(Address.parse(address))

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
        if self._store is not None:
            self._store.delete(name)
        self.changed.fire()

    async def close(self) -> None:
        """Ends all."""
        for driver in self.drivers.values():
            await driver.close()
        if self._store is not None:
            self._store.close()


def _configured(
    known: GroupRecord, addresses: tuple[str, str], policy: Policy
) -> GroupRecord:
    """The record with what the configuration says; roles are never changed by it."""
    before = known.primary_address, known.secondary_address
    swapped = addresses == before[::-1]
    return replace(
        known,
        primary_address=addresses[0],
        secondary_address=addresses[1],
        policy=policy,
        reversed=known.reversed is not swapped,
    )
