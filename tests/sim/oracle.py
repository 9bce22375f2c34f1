"""What must hold after every step, whatever died: invariants I1 to I6."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from blkcolo_secondary.replica_state import ReplicaState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blkcolo.files import BlockFile
    from blkcolo_secondary.replica import Replica

_ENDED = (ReplicaState.FAILING_OVER, ReplicaState.FAILED_OVER)


class _Write(NamedTuple):
    offset: int
    data: bytes


class Content:
    """One volume as whoever writes to it must find it again.

    A write that was cut or failed may be there in part. After power loss the same is
    true of every write behind the last flush; what was flushed is there.
    """

    def __init__(self, content: bytes) -> None:
        self._latest = bytearray(content)
        self._sure = bytes(content)
        self._unsure: list[_Write] = []
        self._begun: _Write | None = None

    def begin(self, offset: int, data: bytes) -> None:
        """A write is about to be done; `done` may never come."""
        self._begun = _Write(offset, data)
        self._unsure.append(self._begun)

    def done(self) -> None:
        """It was done."""
        assert self._begun is not None
        offset, data = self._begun
        self._latest[offset : offset + len(data)] = data
        self._begun = None

    def flushed(self) -> None:
        """What was written is durable now."""
        self._sure, self._unsure = bytes(self._latest), []

    def check(self, disk: bytes | bytearray, what: str, *, power_lost: bool) -> None:
        """Raises AssertionError where a byte is none of those that it may be."""
        if not power_lost and self._begun is None:
            assert disk == self._latest, f"{what}: {_first(disk, self._latest)}"
            return
        seen = np.frombuffer(disk, np.uint8)
        expected = self._sure if power_lost else self._latest
        fine = seen == np.frombuffer(expected, np.uint8)
        for write in self._unsure if power_lost else [self._begun]:
            assert write is not None
            part = slice(write.offset, write.offset + len(write.data))
            fine[part] |= seen[part] == np.frombuffer(write.data, np.uint8)
        assert fine.all(), f"{what}: byte {int(np.argmin(fine))} after a crash"
        self._latest, self._begun = bytearray(disk), None
        if power_lost:
            self.flushed()


def _first(seen: bytes | bytearray, expected: bytes | bytearray) -> str:
    pairs = zip(seen, expected, strict=True)
    at = next(i for i, (one, other) in enumerate(pairs) if one != other)
    return f"byte {at} is {seen[at]:#04x}, not {expected[at]:#04x}"


class Oracle:
    """The model: contents at barriers, and what each reader must find."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self.primary = [Content(bytes(size)) for size in sizes]
        self.answered: int | None = None
        self._sizes = sizes
        self._barriers: dict[int, list[bytes]] = {}
        self._views: dict[int, list[Content]] = {}
        self._shown: int | None = None
        self._forgotten = False
        self._power_lost = {"primary": False, "secondary": False}
        self._writers: dict[int, str] = {}
        self._newest = {"primary": 0, "secondary": 0}
        self._fenced = 0
        self._drained: list[bytes] | None = None
        self._target: int | None = None

    # What happens.

    def lost_power(self, side: str) -> None:
        """A machine lost power: its disks are looked at before anything is written."""
        self._power_lost[side] = True

    def at_barrier(self, epoch: int, disks: Sequence[BlockFile]) -> None:
        """The primary ended an epoch; an uncommitted number may come again."""
        self._barriers[epoch] = _contents(disks, self._sizes)
        self._views.pop(epoch, None)

    def commit_answered(self, epoch: int) -> None:
        """The secondary said that a checkpoint is committed."""
        if self.answered is None or epoch > self.answered:
            self.answered, self._forgotten = epoch, False

    def admitted(self, side: str, generation: int) -> None:
        """I4: a side did what a caller of this generation asked for."""
        known = self._newest[side]
        assert generation >= known, f"I4: {side} admits {generation}, knows {known}"
        self._newest[side] = generation

    def generation_of(self, side: str) -> int:
        """The newest generation that a side took a call in."""
        return self._newest[side]

    def fenced(self, generation: int) -> None:
        """The primary answered a fence: it holds for ever."""
        self._fenced = max(self._fenced, generation)

    def vm_writes(self, side: str, generation: int) -> None:
        """I4: at most one side accepts VM writes in a generation."""
        writer = self._writers.setdefault(generation, side)
        assert writer == side, f"I4: {side} and {writer} write in {generation}"
        if side == "primary":
            fenced = self._fenced
            assert generation > fenced or not fenced, f"I4: written below {fenced}"

    def view_content(self, volume: int) -> Content | None:
        """What the secondary's VM writes into; None before the first checkpoint."""
        return None if self._shown is None else self._views[self._shown][volume]

    def prepared(self, epoch: int, spoiled_in: int | None) -> None:
        """I5: no epoch is prepared with, or behind, a lost write."""
        spoiled = spoiled_in is not None and epoch >= spoiled_in
        assert not spoiled, f"I5: {epoch} prepared, a write was lost in {spoiled_in}"

    def failing_over_to(self, epoch: int | None) -> None:
        """The secondary took a failover to this kept checkpoint."""
        self._target = epoch

    def giving_up(self) -> None:
        """A stop is about to give every checkpoint up."""
        self._forgotten = True

    def kept_latest(self, disks: Sequence[BlockFile]) -> None:
        """A stop at the latest write is done; drained, it is all that was written."""
        drained, self._drained = self._drained, None
        if drained is not None:
            latest = _contents(disks, self._sizes)
            assert latest == drained, "stop at the latest write: the disks differ"

    def drained(self, disks: Sequence[BlockFile]) -> None:
        """The primary's stream ended; everything was applied."""
        self._drained = _contents(disks, self._sizes)

    def streams_again(self) -> None:
        """A new stream: what was drained is history."""
        self._drained = None

    # What must hold.

    def check_primary(self, disks: Sequence[BlockFile]) -> None:
        """The VM finds what it wrote; after power loss, what it flushed."""
        for volume, content in enumerate(_contents(disks, self._sizes)):
            self.primary[volume].check(
                content,
                f"flush: disk{volume} of the primary",
                power_lost=self._power_lost["primary"],
            )
        self._power_lost["primary"] = False

    def check(self, replica: Replica) -> None:
        """I1, I2 and I3."""
        committed = replica.committed
        self._check_committed(committed, replica.journal.state.committed)
        if committed is None:
            self._power_lost["secondary"] = False
            return
        shown = replica.shown
        assert shown is not None, "I1: a checkpoint, and no view"
        self._show(shown, replica)
        for volume, content in enumerate(self._views[shown]):
            seen = _view(replica, volume)
            content.check(
                seen,
                f"I1: view of disk{volume} is not C({shown})",
                power_lost=self._power_lost["secondary"],
            )
            if replica.state in (ReplicaState.FAILED_OVER, ReplicaState.STOPPED):
                disk = bytearray(len(seen))
                replica.buffer.disks[volume].read_into(0, memoryview(disk))
                assert disk == seen, f"I2: disk{volume} is not the view"
        self._power_lost["secondary"] = False
        self._check_kept(replica)

    def _check_committed(self, committed: int | None, known: int | None) -> None:
        if self.answered is None:
            return
        assert known is not None, "I3: the number is lost"
        assert known >= self.answered, f"I3: {known} < {self.answered}"
        if committed is None:
            assert self._forgotten, "I3: the checkpoint is lost"
        else:
            assert committed >= self.answered, f"I3: {committed} < {self.answered}"

    def _show(self, shown: int, replica: Replica) -> None:
        """The view may move on, and back only behind an unanswered commit."""
        stopped = replica.state is ReplicaState.STOPPED  # and the overlay given up
        older = [e for e in self._views if e < min(shown, self.answered or 0)]
        for epoch in older:
            del self._views[epoch]
        if replica.state in _ENDED and self._target is not None:
            assert shown == self._target, f"I2: led to {shown}, not {self._target}"
            if self._shown != shown:
                self._views.pop(shown, None)
        if shown not in self._views or stopped:
            assert shown in self._barriers, f"I1: {shown} was never a barrier"
            self._views[shown] = [Content(c) for c in self._barriers[shown]]
        self._shown = shown

    def _check_kept(self, replica: Replica) -> None:
        for checkpoint in replica.checkpoints[:-1]:
            for volume, expected in enumerate(self._barriers[checkpoint.epoch]):
                seen = _view(replica, volume, at=checkpoint.epoch)
                assert seen == expected, f"I1: kept {checkpoint.epoch} differs"


def _view(replica: Replica, volume: int, at: int | None = None) -> bytearray:
    seen = bytearray(replica.volumes[volume].size)
    replica.buffer.read_into(volume, 0, memoryview(seen), at=at)
    return seen


def _contents(disks: Sequence[BlockFile], sizes: Sequence[int]) -> list[bytes]:
    contents = []
    for disk, size in zip(disks, sizes, strict=True):
        content = bytearray(size)
        disk.read_into(0, memoryview(content))
        contents.append(bytes(content))
    return contents
