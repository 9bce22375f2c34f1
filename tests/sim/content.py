"""One volume as whoever writes to it must find it again, whatever died."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blkcolo.storage.files import BlockFile
    from blkcolo_secondary.core.replica import Replica


class _Write(NamedTuple):
    offset: int
    data: bytes


class Content:
    """What was written to one volume.

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

    def refused(self, disk: BlockFile) -> None:
        """It failed: each of its bytes is the old or the new one, whatever follows."""
        if self._begun is None:  # it was done: what failed is the flush behind it
            return
        offset, data = self._begun
        seen, part = bytearray(len(data)), slice(offset, offset + len(data))
        disk.read_into(offset, memoryview(seen))
        found = zip(seen, self._latest[part], data, strict=True)
        assert all(byte in (old, new) for byte, old, new in found), "a torn byte"
        self._latest[part], self._begun = seen, None

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


def contents_of(disks: Sequence[BlockFile]) -> list[bytes]:
    """What the disks hold."""
    contents = []
    for disk in disks:
        content = bytearray(disk.size)
        disk.read_into(0, memoryview(content))
        contents.append(bytes(content))
    return contents


def view_of(replica: Replica, volume: int, at: int | None = None) -> bytearray:
    """What a reader of the secondary finds, or found at a kept checkpoint."""
    seen = bytearray(replica.volumes[volume].size)
    replica.buffer.read_into(volume, 0, memoryview(seen), at=at)
    return seen
