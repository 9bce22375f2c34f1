"""Compares extents of both sides in stream order, and sends again what differs.

A resync and a verify do the same; what they compare, and what it means, differs.

Reading an extent and putting its checksum, or its bytes, into the stream is one step,
so each stands behind every write that it includes and before every later one. The
secondary saves what it overwrites, so its last checkpoint stays available all
through. Holes travel as one extent without a checksum, and are repaired by a trim.

A resync also spares the stream: what the VM writes where nothing was compared yet
need not be sent, since the comparison will find it there (`is_ahead`). That is safe
because nothing is committed before the pass is complete, and each of these extents is
read before that, after the write. Crash cases:
  the stream is lost before it is read   its regions are marked: the next one reads it
  it is read, and the answer is lost     the same: not settled before it is answered
  either process dies                    the same: the mark was stored before the write

    COMPARING --all sent--> SETTLING --answers are in--> COMPLETING --applied--> DONE
"""

from __future__ import annotations

import enum
import hashlib
from bisect import bisect_right
from collections import deque
from typing import TYPE_CHECKING

from blkcolo.extents import Extent
from blkcolo.stream import RecordKind, Verify, VerifyExtent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from blkcolo.storage.files import BlockFile
    from blkcolo.stream import Mismatch
    from blkcolo_primary.core.outbox import Outbox
    from blkcolo_primary.core.window import Window

#: Data under one checksum, in bytes: what one differing byte costs to send again.
EXTENT_BYTES = 64 << 10
#: Data compared by one message, in bytes.
_MESSAGE_BYTES = 1 << 20
#: A hole compared by one extent, in bytes.
_HOLE_BYTES = 1 << 30
#: Messages that may wait for their answers.
_WINDOW = 16
#: What is read at once to be sent again, in bytes.
_SEND_BYTES = 1 << 20


class Phase(enum.Enum):
    """How far it is."""

    COMPARING = enum.auto()
    SETTLING = enum.auto()
    COMPLETING = enum.auto()
    DONE = enum.auto()


class Comparison:
    """One pass over extents of the volumes of one stream.

    Attributes:
        phase: how far it is.
        total_bytes: what is to be compared.
        done_bytes: what was put into the stream to be compared.
        read_bytes: those of them that are no holes.
        differing_bytes: what the secondary found to be different.
        resent_bytes: data sent again.
    """

    def __init__(
        self,
        outbox: Outbox,
        disks: Sequence[BlockFile],
        wanted: Sequence[Sequence[Extent]],
        window: Window,
    ) -> None:
        """Plans it; `step` begins.

        Args:
            outbox: the stream.
            disks: the volumes' disks.
            wanted: extents to compare, by volume.
            window: one message at most is under way while so much is in flight; so it
                goes on where the VM alone keeps that full.
        """
        self.phase = Phase.COMPARING
        self.total_bytes = sum(e.length for extents in wanted for e in extents)
        self.done_bytes = self.read_bytes = 0
        self.resent_bytes = self.differing_bytes = 0
        self._outbox = outbox
        self._disks = disks
        self._window = window
        self._wanted = wanted
        #: Volume and byte from which on nothing was compared yet.
        self._cursor = (0, 0)
        self._messages = _messages(disks, wanted)
        self._last_seq = 0
        self._unanswered: deque[tuple[int, int, Extent]] = deque()

    def step(self) -> bool:
        """Does what is due; False if the secondary must answer first.

        Raises:
            OSError: a disk could not be read.
        """
        if self.phase is Phase.COMPARING:
            return self._compare()
        if self._outbox.applied_seq < self._last_seq:
            return False
        if self.phase is Phase.SETTLING:
            self._last_seq = self._outbox.control(Verify((), complete=True))
            self.phase = Phase.COMPLETING
        elif self.phase is Phase.COMPLETING:
            self.phase = Phase.DONE
        return True

    def _compare(self) -> bool:
        ahead = self._last_seq - self._outbox.applied_seq
        if ahead >= _WINDOW or (ahead > 0 and self._outbox.fills(self._window)):
            return False
        message = next(self._messages, None)
        if message is None:
            self.phase = Phase.SETTLING
            return True
        self._last_seq = self._outbox.control(message)
        first, last = message.extents[0], message.extents[-1]
        length = last.offset + last.length - first.offset
        extent = Extent(first.offset, length)
        self._cursor = (first.volume, extent.end)
        self._unanswered.append((self._last_seq, first.volume, extent))
        self.done_bytes += length
        self.read_bytes += length if first.digest else 0
        return True

    def is_ahead(self, volume: int, offset: int, length: int) -> bool:
        """True if all of an extent is still to be read and compared."""
        if self.phase is not Phase.COMPARING or (volume, offset) < self._cursor:
            return False
        extents = self._wanted[volume]
        found = bisect_right(extents, offset, key=_offset) - 1
        return found >= 0 and offset + length <= extents[found].end

    def take_answered(self) -> list[list[Extent]]:
        """The extents, by volume, that were answered since the last call.

        What differed in them is in the stream by now, up to its newest message.
        """
        answered: list[list[Extent]] = [[] for _ in self._disks]
        while self._unanswered and self._unanswered[0][0] <= self._outbox.applied_seq:
            _, volume, extent = self._unanswered.popleft()
            before = answered[volume]
            if before and before[-1].end == extent.offset:
                extent = Extent(before[-1].offset, extent.end - before[-1].offset)
                before.pop()
            before.append(extent)
        return answered

    def repair(self, mismatch: Mismatch) -> None:
        """Sends again what the secondary found to be different.

        Raises:
            OSError: a disk could not be read.
        """
        for extent in mismatch.extents:
            self.differing_bytes += extent.length
            for part, is_data in split_holes(
                self._disks[extent.volume], Extent(extent.offset, extent.length)
            ):
                self._send(extent.volume, part, is_data=is_data)
        self._last_seq = max(self._last_seq, self._outbox.last_seq)

    def _send(self, volume: int, extent: Extent, *, is_data: bool) -> None:
        if not is_data:
            self._outbox.zero(volume, *extent, RecordKind.TRIM)
            return
        for start in range(extent.offset, extent.end, _SEND_BYTES):
            content = bytearray(min(_SEND_BYTES, extent.end - start))
            self._disks[volume].read_into(start, memoryview(content))
            self._outbox.data(volume, start, memoryview(content))
            self.resent_bytes += len(content)


def _offset(extent: Extent) -> int:
    return extent.offset


def split_holes(disk: BlockFile, extent: Extent) -> Iterator[tuple[Extent, bool]]:
    """Cuts an extent into data (True) and holes, in order."""
    at = extent.offset
    for data in disk.data_extents(*extent):
        if data.offset > at:
            yield Extent(at, data.offset - at), False
        yield data, True
        at = data.end
    if at < extent.end:
        yield Extent(at, extent.end - at), False


def _messages(
    disks: Sequence[BlockFile], wanted: Sequence[Sequence[Extent]]
) -> Iterator[Verify]:
    """The comparisons; each is to be sent before the next is asked for."""
    for volume, extents in enumerate(wanted):
        for extent in extents:
            at = extent.offset
            while at < extent.end:
                message = _next_message(disks[volume], volume, at, extent.end)
                yield message
                at = message.extents[-1].offset + message.extents[-1].length


def _next_message(disk: BlockFile, volume: int, at: int, end: int) -> Verify:
    data = next(disk.data_extents(at, end - at), None)
    start = data.offset if data is not None else end
    if start > at:
        hole = VerifyExtent(volume, at, min(start - at, _HOLE_BYTES), b"")
        return Verify((hole,))
    content = bytearray(min(_MESSAGE_BYTES, end - at))
    view = memoryview(content)
    disk.read_into(at, view)
    return Verify(
        tuple(
            VerifyExtent(volume, at + start, len(part), hashlib.sha256(part).digest())
            for start in range(0, len(content), EXTENT_BYTES)
            for part in [view[start : start + EXTENT_BYTES]]
        )
    )
