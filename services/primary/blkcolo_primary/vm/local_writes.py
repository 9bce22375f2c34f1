"""The VM's writes on the primary, and the order of their parts.

    marked in the intent log -> the local disk -> the stream

The mark comes first, durable where power loss is to be survived: so whatever dies
between two parts, a resync looks at the write's regions. The local disk comes before
the stream, in one step with it: the order of the disk is the order of the stream.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from blkcolo.errors import BlkcoloError, DataLoss, Reason, from_os_error
from blkcolo_primary.core.forward_state import ForwardState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from blkcolo.storage.files import BlockFile
    from blkcolo.stream import VolumeId
    from blkcolo_primary.core.forwarder import ForwarderCore

#: What is read back at once after a failed local write, in bytes.
_MIRROR_STEP = 1 << 20


class LocalWrites:
    """The writes of one group."""

    def __init__(
        self,
        core: ForwarderCore,
        volumes: Sequence[VolumeId],
        lose: Callable[[BlkcoloError], None],
        *,
        host: bool,
        clock: Callable[[], float],
    ) -> None:
        """Takes the group.

        Args:
            core: its core.
            volumes: its volumes.
            lose: gives the stream up, and says why.
            host: power loss is to be survived: marks are to be durable.
            clock: seconds on a clock that never jumps.
        """
        self._core = core
        self._writes = core.writes
        self._volumes = volumes
        self._lose = lose
        self._host = host
        self._clock = clock
        #: How long the disk took for the last write, zero or trim.
        self.disk_seconds = 0.0

    def congestion(self) -> BlkcoloError:
        """Why a write would have to wait for the secondary, while it would."""
        core = self._core
        stream = core.stream
        if stream is not None and stream.outbox.fills(core.window):
            return DataLoss(
                Reason.CONGESTION,
                f"group {core.group}: {core.in_flight_bytes} bytes in"
                f" {stream.outbox.in_flight_writes} writes were in flight and"
                " on_congestion is detach; it is resynced when the link is faster;"
                " raise window_bytes and window_writes for longer bursts, or choose"
                " throttle to hold the VM up instead",
            )
        return DataLoss(
            Reason.BUFFER_FULL,
            f"group {core.group}: the secondary's Disk Buffer is at its limit and"
            " on_congestion is detach; raise buffer_limit_bytes, checkpoint more"
            " often, or choose throttle",
        )

    def write(self, volume: int, offset: int, data: memoryview) -> int | None:
        """One write; returns the seq that covers it, if a stream does.

        Raises:
            OSError: refused, or the disk failed; what the disk holds then is sent.
        """
        self._prepare(volume, offset, len(data))
        began = self._clock()
        try:
            self._core.disks[volume].write(offset, data)
        except OSError:
            self._mirror(volume, offset, len(data))
            raise
        self.disk_seconds = self._clock() - began
        return self._writes.wrote(volume, offset, data)

    def write_each(
        self, volume: int, offsets: Sequence[int], pieces: Sequence[memoryview]
    ) -> int:
        """Writes of one length, in order; how many were done.

        The one behind them was refused, and what the disk holds of it is not in the
        stream: `write` is to try it again, and does what is due where it fails.
        """
        core, writes = self._core, self._writes
        if self._host or not writes.takes_each:
            return 0
        try:
            writes.intend_each(volume, offsets, len(pieces[0]))
        except OSError:
            return 0
        began = self._clock()
        done = _write(core.disks[volume], offsets, pieces)
        self.disk_seconds = self._clock() - began
        writes.wrote_each(volume, offsets[:done], pieces[:done])
        return done

    def zero(
        self,
        volume: int,
        offset: int,
        length: int,
        work: Callable[[], None],
        *,
        trim: bool,
    ) -> int | None:
        """One zero or trim, by `work`; as `write`."""
        self._prepare(volume, offset, length)
        began = self._clock()
        try:
            work()
        except OSError as error:
            if error.errno != errno.ENOTSUP:  # that says: nothing was done
                self._mirror(volume, offset, length)
            raise
        self.disk_seconds = self._clock() - began
        return self._writes.zeroed(volume, offset, length, trim=trim)

    def _prepare(self, volume: int, offset: int, length: int) -> None:
        """Marks the write's regions; raises OSError, and nothing was written."""
        if self._core.standing.state is ForwardState.FENCED:
            raise PermissionError(errno.EPERM, "fenced")
        self._writes.intend(volume, offset, length)
        if self._host and self._core.intent.unsynced(volume, offset, length):
            raise OSError(errno.EIO, "the intent log is not durable")

    def _mirror(self, volume: int, offset: int, length: int) -> None:
        """After a failed local write: send what the disk holds now.

        The write may be half done. Where even reading fails, the sides may differ:
        the link counts as lost.
        """
        try:
            for start in range(offset, offset + length, _MIRROR_STEP):
                content = bytearray(min(_MIRROR_STEP, offset + length - start))
                self._core.disks[volume].read_into(start, memoryview(content))
                self._writes.wrote(volume, start, memoryview(content))
        except OSError as error:
            name = self._volumes[volume].name
            self._lose(from_os_error(error, "reading the disk back", name, offset))


def _write(
    disk: BlockFile, offsets: Sequence[int], pieces: Sequence[memoryview]
) -> int:
    """Writes each piece; how many, up to the first that the disk refuses."""
    for number, (offset, piece) in enumerate(zip(offsets, pieces, strict=True)):
        try:
            disk.write(offset, piece)
        except OSError:
            return number
    return len(offsets)
