"""What all share that drive one group: its record, its nodes, what both last said."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import structlog

from blkcolo.errors import BlkcoloError, Reason
from blkcolo_coordinator.core import events
from blkcolo_coordinator.core.events import Moment
from blkcolo_coordinator.core.group_state import ENDED, Event, GroupState, advance
from blkcolo_coordinator.core.recovery_point import RecoveryPoint
from blkcolo_coordinator.peers.seen_on_wire import primary_seen, secondary_seen
from blkcolo_coordinator.record.told_changes import ToldChanges
from blkcolo_coordinator.runtime.group_watch import NONE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from blkcolo.v1.primary_pb2 import ForwardStatus
    from blkcolo.v1.secondary_pb2 import ReplicaStatus
    from blkcolo_coordinator.core.group_record import GroupRecord
    from blkcolo_coordinator.peers.pair import Pair
    from blkcolo_coordinator.record.store import Store
    from blkcolo_coordinator.runtime.counts import CoordinatorMetrics
    from blkcolo_coordinator.runtime.group_watch import Answers
    from blkcolo_coordinator.settings import CoordinatorSettings

S = TypeVar("S")

_log = structlog.get_logger(__name__)


class Sides(NamedTuple):
    """What both sides last answered; None for one that did not."""

    primary: ForwardStatus | None
    secondary: ReplicaStatus | None


class DrivenGroup:
    """One group at run time; whoever changes it holds the driver's lock."""

    def __init__(
        self,
        record: GroupRecord,
        store: Store,
        pair: Pair,
        settings: CoordinatorSettings,
        metrics: CoordinatorMetrics,
    ) -> None:
        """Goes on from the record."""
        self.record = record
        self.pair = pair
        self.settings = settings
        self.metrics = metrics
        self.sides = Sides(None, None)
        #: Seconds on a clock that never jumps: what they said is no older.
        self.sides_at = time.monotonic()
        #: Why they are None.
        self.unanswered: tuple[BlkcoloError | None, BlkcoloError | None] = (None, None)
        self.failure: BlkcoloError | None = None
        self.recovery_point = RecoveryPoint(
            record.committed_at, time.time(), time.monotonic()
        )
        self.log = _log.bind(group=record.name)
        self._told = ToldChanges(store, record.name)

    @property
    def name(self) -> str:
        """The group's name."""
        return self.record.name

    @property
    def ended(self) -> bool:
        """True where no stream is wanted."""
        return self.record.state in (GroupState.STOPPED, *ENDED)

    # The record.

    def update(
        self, why: BlkcoloError | None = None, /, *, durable: bool, **changes: object
    ) -> None:
        """Stores the record with the events of its change, then takes it over.

        What need not be durable is true at once, whatever the store says of it.

        Args:
            why: what the change is owed to, where something failed.
            durable: it survives power loss when this returns.
            **changes: of the record.

        Raises:
            BlkcoloError: the store refused.
        """
        record = replace(self.record, **changes)  # type: ignore[arg-type] # by name
        found = events.between_records(self.record, record, time.time(), why)
        if not durable:
            self._hold(record)
        self._told.save(record, durable=durable, events=found)
        self._hold(record)

    def _hold(self, record: GroupRecord) -> None:
        before, self.record = self.record, record
        if record.committed_at != before.committed_at:
            now = time.time(), time.monotonic()
            self.recovery_point.moved(record.committed_at, *now)

    def after(self, event: Event) -> GroupState:
        """The state that an event leads to; raises Refused."""
        return advance(self.name, self.record.state, event)

    def advance(self, event: Event, why: BlkcoloError | None = None) -> None:
        """Takes an event in that needs no durable record; raises Refused."""
        state = self.after(event)
        if state is not self.record.state:
            self.update(why, durable=False, state=state)

    def raise_generation(self, **changes: object) -> int:
        """Stores a newer generation, with other changes, before anybody hears of it."""
        newer = self.record.generation + 1
        self.update(durable=True, generation=newer, **changes)
        return self.record.generation

    # Both sides.

    async def ask_both(self, known: Answers = NONE) -> list[BlkcoloError]:
        """Asks both sides at once; returns why one or both did not answer.

        Args:
            known: answers that are there already.
        """
        at = time.monotonic() if known.at is None else known.at
        primary, secondary = answers = await self._asked(known)
        self.sides_at = at
        self.sides = Sides(
            None if isinstance(primary, BaseException) else primary,
            None if isinstance(secondary, BaseException) else secondary,
        )
        errors: list[BlkcoloError] = []
        for answer in answers:
            if isinstance(answer, BlkcoloError):
                errors.append(answer)
            elif isinstance(answer, BaseException):
                raise answer
        self.unanswered = _error(primary), _error(secondary)
        self._tell_sides()
        self._learn_generation()
        strangers = [error.reason for error in errors] == [Reason.WRONG_ROLE] * 2
        if strangers and not self.ended:
            self._learn_roles()
        return errors

    async def _asked(
        self, known: Answers
    ) -> tuple[
        ForwardStatus | BaseException,
        ReplicaStatus | BaseException,
    ]:
        if known.primary is not None and known.secondary is not None:
            return known.primary, known.secondary
        primary, secondary = await asyncio.gather(
            _ask(self.pair.primary.status, known.primary),
            _ask(self.pair.secondary.status, known.secondary),
            return_exceptions=True,
        )
        return primary, secondary

    def _tell_sides(self) -> None:
        primary, secondary = self.sides
        told = events.looked(
            self._told.look,
            self.moment(self.record.committed or 0),
            primary_seen(primary),
            secondary_seen(secondary),
            self.unanswered,
        )
        self._told.seen(self.record, told)

    def moment(self, epoch: int) -> Moment:
        """Now, for an event that concerns this epoch."""
        return Moment(self.name, time.time(), epoch, self.record.generation)

    def _learn_generation(self) -> None:
        """A side that knows a newer generation is right: our database was lost."""
        known = max((s.generation for s in self.sides if s is not None), default=0)
        if known > self.record.generation:
            self.log.warning(
                "newer generation learnt", generation=known, was=self.record.generation
            )
            self.update(durable=True, generation=known)

    def _learn_roles(self) -> None:
        """Each side says that it is what the other one should be: likewise."""
        self.log.warning("roles learnt", primary=self.record.secondary_now)
        self.swap_roles()

    def swap_roles(self, **changes: object) -> None:
        """Stores that the roles are changed, with other changes, and holds to it."""
        swapped = not self.record.reversed
        self.update(durable=True, reversed=swapped, **changes)
        self.pair.swap()

    # Protection.

    def lost(self, error: BlkcoloError) -> None:
        """Not protected, and why; told when that is news."""
        if not self.ended:
            if self.failure is None or self.failure.reason is not error.reason:
                self.log.error(
                    "not protected",
                    reason=error.reason.name,
                    error=str(error),
                    epoch=error.epoch,
                    generation=self.record.generation,
                )
                self.metrics.error(self.name, error.reason)
            self._tell_loss(error)
            # Where the store is what failed, it holds in memory alone; a successor
            # asks both sides before it says anything.
            with contextlib.suppress(BlkcoloError):
                self.advance(Event.LOST, error)
        self.failure = error

    def all_reached(self) -> None:
        """The sides have reached each other: that one could not be is no reason now."""
        failure = self.failure
        if failure is not None and failure.reason is Reason.PEER_UNREACHABLE:
            self.failure = None

    def _tell_loss(self, error: BlkcoloError) -> None:
        told = events.not_protected(
            self._told.look,
            self.moment(self.record.committed or 0),
            error,
            state_tells=self.after(Event.LOST) is not self.record.state,
        )
        self._told.seen(self.record, told)

    def checkpoint_failed(self, epoch: int, error: BlkcoloError) -> None:
        """A checkpoint was not committed."""
        self.metrics.checkpoint_failed(self.name, error.reason)
        told = events.failed_checkpoint(self._told.look, self.moment(epoch), error)
        self._told.seen(self.record, told)

    def committed(self, epoch: int, trigger: str) -> None:
        """A checkpoint was committed: protected, and the next failure is news.

        Raises:
            BlkcoloError: the store refused; the checkpoint exists all the same.
        """
        self._told.look = events.committed(self._told.look)
        primary, secondary = self.sides
        if primary is not None:
            primary.epoch = epoch + 1  # the barrier is in the stream
        if secondary is not None:
            secondary.committed_epoch = epoch  # it has answered so
        self.update(
            durable=False,
            committed=epoch,
            committed_at=time.time(),
            trigger_name=trigger,
            state=self.after(Event.COMMITTED),
        )
        self.failure = None

    def held_to(self, epoch: int) -> None:
        """A checkpoint that was committed before protects the group.

        Raises:
            BlkcoloError: the store refused.
        """
        state = self.after(Event.COMMITTED)
        self.update(durable=False, committed=epoch, state=state)


async def _ask(
    side: Callable[[], Awaitable[S]], known: S | BlkcoloError | None
) -> S | BlkcoloError:
    """What is known; otherwise what the side says when it is asked."""
    return known if known is not None else await side()


def _error(answer: object) -> BlkcoloError | None:
    return answer if isinstance(answer, BlkcoloError) else None
