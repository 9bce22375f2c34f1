"""Where a group's forwarding stands: its state, its generation, and its stream.

Each side of the core (`forwarder`, `write_through`) looks here. What happened is
brought here by `forwarder` alone: `forward_state` says what follows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blkcolo.errors import Reason, Refused
from blkcolo.leaps import check_generation
from blkcolo_primary.core.forward_state import (
    Event,
    ForwardState,
    advance,
    not_replicating,
)
from blkcolo_primary.record import durable_state
from blkcolo_primary.record.durable_state import DurableState

if TYPE_CHECKING:
    from blkcolo.errors import BlkcoloError
    from blkcolo.storage.files import Folder
    from blkcolo_primary.core.forward_stream import ForwardStream


class Standing:
    """The state of one group.

    Attributes:
        group: its name.
        generation: the newest known one.
        state: see `forward_state`.
        stream: the one that stands, if any.
        replica_id: the secondary's copy; empty before the first stream.
        failure: why the last stream was lost, or could not start.
        stop_mark: another one behind each stop; a start that names an older one was
            sent before that, and is refused.
    """

    def __init__(self, group: str, folder: Folder, stop_mark: int) -> None:
        """Goes on from what the folder says; raises DataLoss if that is damaged."""
        saved = durable_state.load(folder, group)
        self.group = group
        self.generation = saved.generation
        self.state = ForwardState.FENCED if saved.fenced else ForwardState.IDLE
        self.stream: ForwardStream | None = None
        self.replica_id = ""
        self.failure: BlkcoloError | None = None
        self.stop_mark = stop_mark
        self._folder = folder
        self._epoch = saved.epoch

    @property
    def epoch(self) -> int:
        """The epoch that VM writes belong to; without a stream, the last known one."""
        return self.stream.outbox.epoch if self.stream is not None else self._epoch

    @property
    def committed(self) -> int | None:
        """The newest epoch of this stream that is committed."""
        return self.stream.epochs.committed if self.stream is not None else None

    @property
    def replicating(self) -> ForwardStream | None:
        """The stream in which both sides agreed, if there is one."""
        return self.stream if self.state is ForwardState.REPLICATING else None

    @property
    def resyncing(self) -> ForwardStream | None:
        """The stream in which the contents are being compared, if there is one."""
        return self.stream if self.state is ForwardState.RESYNCING else None

    @property
    def cut_off(self) -> bool:
        """True from the loss of a stream until the next one stands."""
        lost = (ForwardState.LOST, ForwardState.CONNECTING)
        return self.state in lost and self.failure is not None

    def check_generation(self, generation: int, *, may_be_newer: bool) -> None:
        """Refuses a caller of another generation; see `leaps.check_generation`."""
        brought_by = None if may_be_newer else "a start, a stop or a fence"
        check_generation(self.group, generation, self.generation, brought_by=brought_by)

    def check_stop_mark(self, stop_mark: int) -> None:
        """Refuses a start from before the last stop; 0 says nothing.

        Generations cannot tell: a stop changes no role, and raises none.
        """
        if stop_mark not in (0, self.stop_mark):
            raise Refused(
                Reason.WRONG_STATE,
                f"group {self.group}: this start was sent before replication was"
                " stopped here, or before this service started; look at the group, and"
                " start it again if that is still wanted",
            )

    def not_replicating(self, epoch: int = 0) -> Refused:
        """The refusal of what needs it to be REPLICATING; see `forward_state`."""
        return not_replicating(self.group, self.state, self.failure, epoch)

    def after(self, event: Event) -> ForwardState:
        """The state that an event leads to, which is not entered yet.

        Raises:
            Refused: the state in force does not allow it.
        """
        return advance(self.group, self.state, event)

    def remember(self, generation: int, *, fenced: bool) -> None:
        """Holds, whatever dies, when this returns; raises BlkcoloError."""
        saved = DurableState(generation, fenced, self.epoch)
        durable_state.save(self._folder, self.group, saved)

    def end_stream(self) -> None:
        """The stream that stood, if one did, is gone; its epoch is still known."""
        self._epoch, self.stream = self.epoch, None
