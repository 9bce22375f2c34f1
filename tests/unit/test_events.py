"""Changes are told once, in order, and survive whoever told them."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blkcolo.errors import BlkcoloError, Exhausted, Invalid, Reason, Unavailable
from blkcolo_coordinator.core import events
from blkcolo_coordinator.core.events import GroupEvent, Kind, Look, Moment
from blkcolo_coordinator.core.group_record import GroupRecord
from blkcolo_coordinator.core.group_state import GroupState
from blkcolo_coordinator.core.policy import Policy
from blkcolo_coordinator.core.seen import PrimarySeen, SecondarySeen
from blkcolo_coordinator.record import event_table
from blkcolo_coordinator.record.event_stream import follow
from blkcolo_coordinator.record.store import Store
from blkcolo_coordinator.record.told_changes import ToldChanges

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from blkcolo_coordinator.record.event_table import EventTable

RECORD = GroupRecord("vm1", "a:1", "b:2")
NOW = Moment("vm1", 100.0, 7, 1)
GONE = Unavailable(Reason.PEER_UNREACHABLE, "primary a:1 cannot be reached")
FULL = Exhausted(Reason.DISK_FULL, "no space")


def kinds(found: list[GroupEvent]) -> list[Kind]:
    return [each.kind for each in found]


records = st.builds(
    GroupRecord,
    st.just("vm1"),
    st.sampled_from(["a:1", "c:3"]),
    st.just("b:2"),
    st.builds(Policy, st.integers(0, 2)),
    st.integers(1, 3),
    st.sampled_from(GroupState),
    st.booleans(),
    st.none() | st.integers(1, 3),
    reversed=st.booleans(),
)


@given(records, records)
def test_each_change_of_a_record_is_told_once_and_nothing_else(
    before: GroupRecord, after: GroupRecord
) -> None:
    changed = {
        Kind.STATE: before.state is not after.state,
        Kind.GENERATION: before.generation != after.generation,
        Kind.ROLES: before.reversed is not after.reversed,
        Kind.PAUSE: before.paused is not after.paused,
        Kind.POLICY: before.policy != after.policy,
        Kind.ADDRESSES: before.primary_address != after.primary_address,
    }
    found = kinds(events.between_records(before, after, 1.0))
    assert sorted(found) == sorted(kind for kind, is_new in changed.items() if is_new)


def test_a_change_says_what_was_what_is_and_why() -> None:
    after = replace(RECORD, state=GroupState.UNPROTECTED, committed=9)
    (event,) = events.between_records(RECORD, after, 5.0, GONE)
    assert (event.before, event.after) == ("starting", "unprotected")
    assert event.reason is Reason.PEER_UNREACHABLE
    assert GONE.message in event.message
    assert event.moment == Moment("vm1", 5.0, 9, 1)


def test_a_group_is_told_to_be_created_and_deleted() -> None:
    assert kinds(events.between_records(None, RECORD, 1.0)) == [Kind.CREATED]
    assert kinds(events.between_records(RECORD, None, 1.0)) == [Kind.DELETED]


sides = st.tuples(
    st.none()
    | st.builds(
        PrimarySeen,
        st.sampled_from(["lost", "resyncing", "replicating"]),
        resync_total=st.integers(0, 2),
        verify_number=st.integers(0, 2),
        verify_ended=st.booleans(),
        differing_bytes=st.integers(0, 2),
    ),
    st.none()
    | st.builds(
        SecondarySeen,
        st.sampled_from(["receiving", "failing_over", "failed_over"]),
        flush_total=st.integers(0, 2),
    ),
)


@given(st.lists(sides, min_size=1))
def test_the_same_look_twice_is_no_news(
    looks: list[tuple[PrimarySeen | None, SecondarySeen | None]],
) -> None:
    told = Look()
    for primary, secondary in looks:
        told, _ = events.looked(told, NOW, primary, secondary, (None, None))
        again, found = events.looked(told, NOW, primary, secondary, (None, None))
        assert found == []
        assert again == told


def look(
    told: Look,
    primary: PrimarySeen | None = None,
    secondary: SecondarySeen | None = None,
) -> tuple[Look, list[GroupEvent]]:
    why = (None if primary else GONE, None if secondary else GONE)
    return events.looked(told, NOW, primary, secondary, why)


def test_a_side_that_was_away_and_comes_back_as_it_was_changes_no_state() -> None:
    primary, secondary = PrimarySeen("replicating"), SecondarySeen("receiving")
    told, _ = look(Look(), primary, secondary)
    told, found = look(told, None, secondary)
    assert [(e.kind, e.reason, e.after) for e in found] == [
        (Kind.PRIMARY, Reason.PEER_UNREACHABLE, "unreachable")
    ]
    assert look(told, None, secondary)[1] == []
    told, found = look(told, primary, secondary)
    assert kinds(found) == [Kind.PRIMARY]


def test_a_resync_begins_and_ends_and_one_between_two_looks_is_not_missed() -> None:
    lost = PrimarySeen("lost")
    running = PrimarySeen("resyncing", plan="dirty", resync_total=4096)
    done = replace(running, state="replicating")
    told, _ = look(Look(), lost)
    told, found = look(told, running)
    assert kinds(found) == [Kind.FORWARD_STATE, Kind.RESYNC_BEGUN]
    assert "dirty, 4096 bytes" in found[1].message
    assert Kind.RESYNC_ENDED in kinds(look(told, lost)[1])
    told, found = look(told, done)
    assert "complete: dirty, 4096 bytes" in found[1].message
    told, _ = look(told, lost)
    assert Kind.RESYNC_ENDED in kinds(look(told, done)[1])


def test_a_flush_is_told_when_it_ended_even_between_two_looks() -> None:
    receiving, flushed = (
        SecondarySeen("receiving"),
        SecondarySeen("failed_over", flush_total=4096),
    )
    told, _ = look(Look(), None, receiving)
    assert kinds(look(told, None, flushed)[1]) == [
        Kind.REPLICA_STATE,
        Kind.FLUSH_ENDED,
    ]
    told, found = look(told, None, SecondarySeen("failing_over", flush_total=4096))
    assert kinds(found) == [Kind.REPLICA_STATE]
    told, found = look(told, None, flushed)
    assert kinds(found) == [Kind.REPLICA_STATE, Kind.FLUSH_ENDED]
    assert look(told, None, flushed)[1] == []


def test_what_a_verify_found_is_told_at_once_and_in_all_at_its_end() -> None:
    seen = PrimarySeen("replicating", verify_number=1, differing_at="disk0 at 512")
    told, _ = look(Look(), seen)
    told, first = look(told, replace(seen, differing_bytes=512))
    assert kinds(first) == [Kind.VERIFY_DIFFERED]
    assert "disk0 at 512" in first[0].message
    told, more = look(told, replace(seen, differing_bytes=1024))
    assert more == []
    ended = replace(seen, differing_bytes=1024, verify_ended=True)
    told, last = look(told, ended)
    assert kinds(last) == [Kind.VERIFY_DIFFERED]
    assert look(told, ended)[1] == []


def test_a_failed_checkpoint_is_told_once_a_reason_until_one_is_committed() -> None:
    told, found = events.failed_checkpoint(Look(), NOW, FULL)
    assert [(e.kind, e.reason, e.moment.epoch) for e in found] == [
        (Kind.CHECKPOINT_FAILED, Reason.DISK_FULL, 7)
    ]
    assert events.failed_checkpoint(told, NOW, FULL)[1] == []
    assert events.failed_checkpoint(told, NOW, GONE)[1] != []
    assert events.failed_checkpoint(events.committed(told), NOW, FULL)[1] != []


def test_another_reason_is_told_unless_the_state_tells_it() -> None:
    told, found = events.not_protected(Look(), NOW, GONE, state_tells=True)
    assert found == []
    told, found = events.not_protected(told, NOW, FULL, state_tells=False)
    assert [(e.before, e.after) for e in found] == [("peer_unreachable", "disk_full")]
    assert events.not_protected(told, NOW, FULL, state_tells=False)[1] == []


# On disk.


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "store")
    yield opened
    opened.close()


def event(number: int, group: str = "vm1") -> GroupEvent:
    return GroupEvent(Moment(group, float(number), 0, 1), Kind.STATE, f"no {number}")


async def parts(
    table: EventTable, after: int, group: str = ""
) -> tuple[int, list[str]]:
    dropped, messages = 0, []
    async for part in follow(table, after, group, go_on=False):
        dropped += part.dropped
        messages += [each.event.message for each in part.events]
    return dropped, messages


async def test_only_the_last_are_kept_and_a_reader_learns_how_many_are_not(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_table, "KEPT", 300)
    for number in range(1, 402, 100):
        some = [event(each) for each in range(number, number + 100)]
        store.save(RECORD, durable=False, events=some)
    assert store.events.bounds() == (201, 500)
    everything = [f"no {number}" for number in range(201, 501)]
    assert await parts(store.events, 0) == (200, everything)
    assert await parts(store.events, 100) == (100, everything)
    assert await parts(store.events, 450) == (0, everything[-50:])
    assert await parts(store.events, 500) == (0, [])
    with pytest.raises(Invalid, match="the last one is 500"):
        await parts(store.events, 501)


async def test_a_follower_gets_what_comes_and_only_of_its_group(store: Store) -> None:
    store.save(RECORD, durable=False, events=[event(1), event(2, "other")])
    stream = follow(store.events, 0, "vm1", go_on=True)
    assert [e.seq for e in (await anext(stream)).events] == [1]
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    store.save(RECORD, durable=False, events=[event(3, "other")])
    store.save(RECORD, durable=False, events=[event(4)])
    assert [e.seq for e in (await waiting).events] == [4]


def test_numbers_go_on_after_a_restart_and_the_look_is_remembered(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store"
    first = Store(path)
    told = ToldChanges(first, "vm1")
    told.save(RECORD, durable=True, events=[event(1)])
    told.seen(RECORD, look(Look(), PrimarySeen("lost")))
    first.close()
    second = Store(path)
    assert ToldChanges(second, "vm1").look == told.look
    second.save(RECORD, durable=False, events=[event(9)])
    assert second.events.bounds() == (1, 5)
    second.delete("vm1", [event(10)])
    assert second.events.bounds() == (1, 6)
    assert second.look("vm1") == Look()
    second.close()


class FullStore(Store):
    full = False

    def save(self, *arguments: object, **options: object) -> None:
        if self.full:
            raise FULL
        super().save(*arguments, **options)  # type: ignore[arg-type] # as given


def test_what_a_full_disk_refused_is_told_with_the_next_record(tmp_path: Path) -> None:
    store = FullStore(tmp_path / "store")
    told = ToldChanges(store, "vm1")
    store.full = True
    told.seen(RECORD, (Look(primary="reachable"), [event(1)]))
    with pytest.raises(BlkcoloError):
        told.save(RECORD, durable=False, events=[event(2)])
    with pytest.raises(BlkcoloError):  # this one did not happen
        told.save(RECORD, durable=True, events=[event(3)])
    store.full = False
    told.save(RECORD, durable=False)
    found = [each.event.message for each in store.events.last(10)]
    assert found == ["no 1", "no 2"]
    assert store.look("vm1").primary == "reachable"
    store.close()


#: What each version brought to the table of groups.
BROUGHT = {
    2: ["reversed", "loser", "fenced_clean", "failed_over_at"],
    3: ["failover_to"],
    5: ["failover_forced"],
}


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_a_store_of_an_older_version_is_taken_over(
    tmp_path: Path, version: int
) -> None:
    path = tmp_path / "store"
    store = Store(path)
    store.save(RECORD, durable=True)
    store.close()
    with sqlite3.connect(path) as database:
        for table in ("events", "looks") if version < 4 else ():
            database.execute(f"DROP TABLE {table}")
        for brought_by, columns in BROUGHT.items():
            for column in columns if version < brought_by else ():
                database.execute(f"ALTER TABLE groups DROP COLUMN {column}")
        database.execute(f"PRAGMA user_version={version}")
    database.close()
    store = Store(path)
    assert store.groups() == [RECORD]
    store.save(RECORD, durable=False, events=[event(1)])
    assert store.events.bounds() == (1, 1)
    store.close()
