"""Starts a group's stream when that is due, and says why it is not there."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from blkcolo.errors import BlkcoloError
from blkcolo.rpc.errors import failure_from
from blkcolo.v1 import types_pb2
from blkcolo_coordinator.core.backoff import NEEDS_OPERATOR, Backoff
from blkcolo_coordinator.core.group_state import Event

if TYPE_CHECKING:
    from blkcolo.v1.primary_pb2 import ForwardStatus
    from blkcolo_coordinator.core.headway import Headway
    from blkcolo_coordinator.runtime.checkpointer import Checkpointer
    from blkcolo_coordinator.runtime.driven_group import DrivenGroup

_F = types_pb2.ForwardState


class Starter:
    """Starts the streams of one group."""

    def __init__(
        self, group: DrivenGroup, headway: Headway, checkpoints: Checkpointer
    ) -> None:
        """Takes the group, and what must know of lost streams."""
        self._group = group
        self._headway = headway
        self._checkpoints = checkpoints
        self._backoff = Backoff()
        self._discard_secondary = False
        #: A start was answered, and what became of its stream is not known yet.
        self._answered = True

    def stands(self) -> None:
        """The stream stands: the next loss is tried again soon."""
        if not self._headway.missing:
            self._backoff.reset()

    def start_soon(self, *, discard_secondary: bool = False) -> None:
        """An operator asks for the next attempt.

        Args:
            discard_secondary: it may overwrite what never came from this group.
        """
        self._backoff.reset()
        self._discard_secondary = discard_secondary

    async def start(self, primary: ForwardStatus) -> None:
        """Starts the stream if that is due.

        Raises:
            BlkcoloError: the primary refused.
        """
        group = self._group
        self._checkpoints.starts_anew()
        if primary.state == _F.FORWARD_STATE_LOST and primary.HasField("failure"):
            failure = failure_from(primary.failure)
            if self._answered:
                self._count_loss(failure)
            self._answered = False
            self._checkpoints.lost(self._headway.told(group.name, failure))
        if not self._backoff.may_try(time.monotonic()):
            return
        if primary.state == _F.FORWARD_STATE_FENCED:
            # A failover that was refused half-way has fenced it: a newer generation,
            # stored first, takes that back.
            newer = max(primary.generation + 1, group.record.generation)
            group.update(durable=True, generation=newer)
        try:
            await group.pair.primary.start(
                group.record.generation,
                group.pair.secondary_address,
                discard_secondary=self._discard_secondary,
                stop_mark=primary.stop_mark,
            )
        except BlkcoloError as error:
            self._answered = False  # the loss is counted here
            self._backoff.failed(time.monotonic(), error)
            raise
        self._discard_secondary = False
        self._answered = True
        group.advance(Event.STARTED)

    def _count_loss(self, failure: BlkcoloError) -> None:
        """A stream that stood is lost; trying again at once may be in vain."""
        if not self._group.record.paused:
            self._headway.lost()
        if failure.reason in NEEDS_OPERATOR or self._headway.missing:
            self._backoff.failed(time.monotonic(), failure)
