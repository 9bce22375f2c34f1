"""What one stream still has to send, and what it still waits for: a pure queue.

Writes enter in the order of the local disk and leave as batches: everything that
came in while the link was busy shares one message, up to a bound. A barrier, a
verify or a flush closes the open batch, so one order holds for all.

Bytes and writes count from the moment they enter until the secondary has applied
them: that is what is in flight, and what a `Window` bounds.
"""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from crc32c import crc32c

from blkcolo.stream import Barrier, Batch, RecordKind, extend_digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from blkcolo.stream import Ack, Flush, Request, Verify
    from blkcolo_primary.core.window import Window

#: What a message or record counts in the window besides its data, in bytes.
RECORD_BYTES = 32
#: More records than this never share a batch, whatever their size: the secondary
#: applies it in one go, some ms, and all that asks for its turn there waits so long.
_MAX_RECORDS = 128
_DATA = int(RecordKind.DATA)


class _Sent(NamedTuple):
    seq: int
    data_bytes: int
    window_bytes: int
    covered_bytes: int
    records: int


class Outbox:
    """The messages of one stream from the hello (seq 1) on.

    Attributes:
        first_epoch: the epoch that the stream began in.
        epoch: the epoch that the next write belongs to.
        sent_bytes: data bytes handed to the stream.
        applied_bytes: data bytes that the secondary has applied.
        in_flight_bytes: bytes recorded and not applied.
        in_flight_writes: writes, zeros and trims recorded and not applied.
        unapplied_data_bytes: data bytes recorded and not applied.
        unapplied_covered_bytes: the same, with the lengths of zeros and trims.
        last_seq: the seq of the newest write's message.
        buffer_full: the secondary's Disk Buffer is at its limit.
    """

    def __init__(self, epoch: int, batch_bytes: int) -> None:
        """Starts behind the hello.

        Args:
            epoch: the epoch that the welcome named.
            batch_bytes: bound of a batch's payload.
        """
        self.first_epoch = self.epoch = epoch
        self.sent_bytes = self.applied_bytes = 0
        self.in_flight_bytes = self.in_flight_writes = 0
        self.unapplied_data_bytes = 0
        self.unapplied_covered_bytes = 0
        self.applied_seq = self.received_seq = self.durable_seq = 1
        self.buffer_full = False
        self._batch_bytes = batch_bytes
        self._next_seq = 2
        self._queue: deque[tuple[int, Request]] = deque()
        self._unapplied: deque[_Sent] = deque()
        self._records = 0
        self._digest = 0
        #: The batch that writes join, and its data.
        self._open = Batch(epoch)
        self._repairs = False
        self._parts: list[bytes] = []
        self._open_bytes = 0
        self._told = 0

    @property
    def last_seq(self) -> int:
        """The seq of the message that the newest write is, or will be, in."""
        return self._next_seq if self._open.kinds else self._next_seq - 1

    @property
    def records(self) -> int:
        """Records of the current epoch."""
        return self._records + len(self._open.kinds)

    @property
    def empty(self) -> bool:
        """True when nothing waits to be sent."""
        return not self._queue and not self._open.kinds

    @property
    def urgent(self) -> bool:
        """True when something waits that no other write can join any more."""
        return bool(self._queue)

    def has_news(self) -> bool:
        """True once when there is something to send, and once more when it is urgent.

        So whoever sends is not woken by each write that only joins a batch.
        """
        stage = 2 if self._queue else 1 if self._open.kinds else 0
        news = stage > self._told
        self._told = stage
        return news

    def fills(self, window: Window) -> bool:
        """True when no more should come in before the secondary has applied some."""
        return (
            self.in_flight_bytes >= window.bytes
            or self.in_flight_writes >= window.writes
        )

    @property
    def drained(self) -> bool:
        """True when the secondary has applied everything."""
        return self.empty and not self._unapplied

    def data(self, volume: int, offset: int, data: memoryview) -> int:
        """Adds a write; returns the seq that will cover it.

        The bytes are copied, since the NBD receive buffer is used again.
        """
        most = self._batch_bytes
        if len(data) <= most:
            self._add_data(volume, (offset,), (data,))
        else:
            for start in range(0, len(data), most):
                part = data[start : start + most]
                self._add_data(volume, (offset + start,), (part,))
        return self.last_seq

    def data_each(
        self, volume: int, offsets: Sequence[int], pieces: Sequence[memoryview]
    ) -> None:
        """Adds writes of one length, in order, each at its offset; as `data`."""
        done = 0
        while done < len(pieces):
            room = self._room_for(len(pieces[done]))
            if not room:  # longer than a batch
                self.data(volume, offsets[done], pieces[done])
            else:
                end = done + room
                self._add_data(volume, offsets[done:end], pieces[done:end])
            done += max(room, 1)

    def _room_for(self, length: int) -> int:
        """How many more writes of a length the open batch takes; one opens the next."""
        if self._open_bytes + length > self._batch_bytes:
            self._close_batch()
        fit = (self._batch_bytes - self._open_bytes) // length
        return min(fit, _MAX_RECORDS - len(self._open.kinds))

    def _add_data(
        self, volume: int, offsets: Sequence[int], pieces: Sequence[memoryview]
    ) -> None:
        """Adds writes of one length that share a batch."""
        count, length = len(pieces), len(pieces[0])
        total = count * length
        if self._open_bytes + total > self._batch_bytes:
            self._close_batch()
        self._parts.append(b"".join(pieces))
        self._open_bytes += total
        self.in_flight_bytes += total
        self.unapplied_data_bytes += total
        self._add(_DATA, volume, offsets, length, list(map(crc32c, pieces)))

    def zero(self, volume: int, offset: int, length: int, kind: RecordKind) -> int:
        """Adds a zero or a trim; returns the seq that will cover it."""
        self._add(kind, volume, (offset,), length, (0,))
        return self.last_seq

    def _add(
        self,
        kind: int,
        volume: int,
        offsets: Sequence[int],
        length: int,
        checksums: Sequence[int],
    ) -> None:
        batch, count = self._open, len(offsets)
        batch.kinds += (kind,) * count
        batch.volumes += (volume,) * count
        batch.offsets += offsets
        batch.lengths += (length,) * count
        batch.checksums += checksums
        self.in_flight_bytes += RECORD_BYTES * count
        self.in_flight_writes += count
        self.unapplied_covered_bytes += length * count
        if self._open_bytes >= self._batch_bytes or len(batch.kinds) >= _MAX_RECORDS:
            self._close_batch()  # nothing can join it: it need not wait

    @contextmanager
    def repairs(self) -> Iterator[None]:
        """What its block adds are repairs; they share no batch with writes."""
        self._close_batch()
        self._repairs = True
        try:
            yield
        finally:
            self._close_batch()
            self._repairs = False

    def barrier(self) -> int:
        """Ends the epoch; returns the barrier's seq."""
        self._close_batch()
        barrier = Barrier(self.epoch, self._records, self._digest)
        seq = self._enqueue(barrier)
        self.epoch += 1
        self._records = self._digest = 0
        return seq

    def control(self, message: Verify | Flush) -> int:
        """Adds a verify or a flush behind all that came before; returns its seq."""
        self._close_batch()
        return self._enqueue(message)

    def _close_batch(self) -> None:
        batch = self._open
        if not batch.kinds:
            return
        batch.epoch, batch.payload = self.epoch, b"".join(self._parts)
        batch.repairs = self._repairs
        records = len(batch.kinds)
        self._records += records
        self._digest = batch.digest = extend_digest(self._digest, batch)
        data, self._open_bytes = self._open_bytes, 0
        self._open, self._parts = Batch(self.epoch), []
        window, covered = data + RECORD_BYTES * records, sum(batch.lengths)
        self._push(batch, _Sent(self._next_seq, data, window, covered, records))

    def _enqueue(self, message: Request) -> int:
        self.in_flight_bytes += RECORD_BYTES
        return self._push(message, _Sent(self._next_seq, 0, RECORD_BYTES, 0, 0))

    def _push(self, message: Request, sent: _Sent) -> int:
        self._next_seq += 1
        self._queue.append((sent.seq, message))
        self._unapplied.append(sent)
        return sent.seq

    def take(self) -> tuple[int, Request] | None:
        """The next message to send, if there is one."""
        if not self._queue:
            self._close_batch()
        if not self._queue:
            return None
        self._told = 0
        seq, message = self._queue.popleft()
        if isinstance(message, Batch):
            self.sent_bytes += len(message.payload)
        return seq, message

    def acknowledge(self, ack: Ack) -> None:
        """Takes in the secondary's progress; older answers change nothing."""
        self.buffer_full = ack.buffer_full
        self.received_seq = max(self.received_seq, ack.received)
        self.durable_seq = max(self.durable_seq, ack.durable)
        self.applied_seq = max(self.applied_seq, ack.applied)
        while self._unapplied and self._unapplied[0].seq <= self.applied_seq:
            done = self._unapplied.popleft()
            self.applied_bytes += done.data_bytes
            self.unapplied_data_bytes -= done.data_bytes
            self.unapplied_covered_bytes -= done.covered_bytes
            self.in_flight_bytes -= done.window_bytes
            self.in_flight_writes -= done.records
