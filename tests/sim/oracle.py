"""What must hold after every step, whatever died: invariants I1 to I4."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from blkcolo_secondary.replica_state import ReplicaState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blkcolo_secondary.replica import Replica
    from tests.sim.disks import SimFile


class _Write(NamedTuple):
    volume: int
    offset: int
    data: bytes


class Oracle:
    """The model: contents at barriers, and what the view must show."""

    def __init__(self) -> None:
        self.answered: int | None = None
        self._barriers: dict[int, list[bytes]] = {}
        self._views: dict[int, list[bytearray]] = {}
        self._current: int | None = None
        self._half_done: _Write | None = None
        self._writers: dict[int, set[str]] = defaultdict(set)

    # What happens.

    def at_barrier(self, epoch: int, disks: Sequence[SimFile]) -> None:
        """The primary ended an epoch; asked again, it answers the same."""
        self._barriers[epoch] = [bytes(disk.content) for disk in disks]

    def commit_answered(self, epoch: int) -> None:
        """The secondary said that a checkpoint is committed."""
        self.answered = max(epoch, self.answered if self.answered is not None else -1)

    def vm_wrote(self, side: str, generation: int) -> None:
        """I4: at most one side accepts VM writes in a generation."""
        self._writers[generation].add(side)
        assert len(self._writers[generation]) == 1, f"I4: both in {generation}"

    def writing_view(self, volume: int, offset: int, data: bytes) -> None:
        """The secondary's VM is about to write; a crash may leave half of it."""
        self._half_done = _Write(volume, offset, data)

    def view_written(self) -> None:
        """It has written."""
        if self._half_done is not None and self._current is not None:
            volume, offset, data = self._half_done
            self._views[self._current][volume][offset : offset + len(data)] = data
        self._half_done = None

    # What must hold.

    def check(self, replica: Replica) -> None:
        """I1, I2 and I3."""
        committed = replica.committed
        if self.answered is not None:
            assert committed is not None, "I3: the checkpoint is lost"
            assert committed >= self.answered, f"I3: {committed} < {self.answered}"
        if committed is None:
            return
        shown = replica.shown
        assert shown is not None
        if shown not in self._views:
            assert shown in self._barriers, f"{shown} was never a barrier"
            self._views[shown] = [bytearray(c) for c in self._barriers[shown]]
        self._current = shown
        for volume, expected in enumerate(self._views[shown]):
            seen = bytearray(len(expected))
            replica.buffer.read_into(volume, 0, memoryview(seen))
            self._settle(volume, expected, seen)
            assert seen == expected, f"I1: view of {volume} is not C({shown})"
            if replica.state is ReplicaState.FAILED_OVER:
                disk = replica.buffer.disks[volume]
                disk.read_into(0, memoryview(seen))
                assert seen == expected, f"I2: disk {volume} is not the view"
        self._half_done = None
        self._check_kept(replica)

    def _settle(self, volume: int, expected: bytearray, seen: bytearray) -> None:
        """Of a write that a crash cut, each byte may be the old or the new one."""
        if self._half_done is None or self._half_done.volume != volume:
            return
        _, offset, data = self._half_done
        for at, byte in enumerate(data, offset):
            if seen[at] == byte:
                expected[at] = byte

    def _check_kept(self, replica: Replica) -> None:
        for checkpoint in replica.checkpoints[:-1]:
            for volume, expected in enumerate(self._barriers[checkpoint.epoch]):
                seen = bytearray(len(expected))
                replica.buffer.read_into(
                    volume, 0, memoryview(seen), at=checkpoint.epoch
                )
                assert seen == expected, f"I1: kept {checkpoint.epoch} differs"
