"""One group on the primary at run time: local disks, the stream, and who waits.

Local writes run on the event loop's thread, one after the other, and enter the
stream in the same step: the order of the local disk is the order of the stream.
fdatasync runs on a thread of its own.
"""

from __future__ import annotations

import asyncio
import errno
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import structlog

from blkcolo.errors import (
    BlkcoloError,
    DataLoss,
    DeadlineMissed,
    Reason,
    from_os_error,
)
from blkcolo.stream import Flush, Hello
from blkcolo.wakeup import Wakeup
from blkcolo_primary import durable_state
from blkcolo_primary.durable_state import DurableState
from blkcolo_primary.forward_state import ForwardState
from blkcolo_primary.forwarder_core import ForwarderCore
from blkcolo_primary.link import Link
from blkcolo_primary.pending_replies import PendingReplies
from blkcolo_primary.verify_pass import verify_messages

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from blkcolo.addresses import Address
    from blkcolo.files import BlockFile, Folder
    from blkcolo.stream import Ack, VolumeId, Welcome
    from blkcolo_primary.outbox import Outbox
    from blkcolo_primary.settings import GroupSettings

_log = structlog.get_logger(__name__)

#: Verify messages on their way at once.
_VERIFY_WINDOW = 16
#: What is read back at once after a failed local write, in bytes.
_MIRROR_STEP = 1 << 20


class ForwardGroup:
    """Drives one `ForwarderCore`."""

    def __init__(
        self,
        settings: GroupSettings,
        volumes: Sequence[VolumeId],
        disks: Sequence[BlockFile],
        folder: Folder,
    ) -> None:
        """Goes on from what the folder says.

        Raises:
            DataLoss: the state file is damaged.
        """
        self.settings = settings
        self.volumes = volumes
        self.disks = disks
        self.work = Wakeup()
        self.changed = Wakeup()
        self.verify_done_bytes = 0
        self._folder = folder
        saved = durable_state.load(folder, settings.name)
        self.core = ForwarderCore(
            settings.name,
            settings.batch_bytes,
            generation=saved.generation,
            state=ForwardState.FENCED if saved.fenced else ForwardState.IDLE,
        )
        self._slow = ThreadPoolExecutor(1, f"slow-{settings.name}")
        self._link: asyncio.Task[None] | None = None
        self._writes = PendingReplies()
        self._durable = PendingReplies()
        self._gate: asyncio.Future[None] | None = None
        self._flushes: set[asyncio.Task[None]] = set()

    @property
    def name(self) -> str:
        """The group's name."""
        return self.settings.name

    @property
    def verify_total_bytes(self) -> int:
        """Bytes that a comparison covers."""
        return sum(volume.size for volume in self.volumes)

    # Replication.

    async def start_replication(
        self, generation: int, address: Address, timeout: float
    ) -> None:
        """Opens the stream, and returns when the secondary welcomed it.

        Raises:
            BlkcoloError: refused here or by the secondary, or not within `timeout`.
        """
        before = self.core.generation
        self.core.start(generation)
        try:
            self._save(fenced=False)
        except BlkcoloError as error:
            self.core.lose(error)
            self.core.generation = before
            raise
        await self._end_link()
        hello = Hello(self.name, generation, tuple(self.volumes))
        link = Link(self, address, hello, self.settings.link_timeout_seconds)
        self._link = asyncio.create_task(self._run(link), name=f"link {self.name}")
        deadline = asyncio.get_running_loop().time() + timeout
        while self.core.state is ForwardState.CONNECTING:
            left = deadline - asyncio.get_running_loop().time()
            if not await self.changed.wait(max(left, 0.0)):
                raise DeadlineMissed(
                    Reason.DEADLINE,
                    f"group {self.name}: {address} did not answer within"
                    f" {timeout:g} s; look at it and at the network",
                )
        if self.core.state is ForwardState.LOST and self.core.failure is not None:
            raise self.core.failure

    async def _run(self, link: Link) -> None:
        """Runs one stream to its end, and tells the core why it ended."""
        log = _log.bind(group=self.name, generation=self.core.generation)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(link.run())
                tasks.create_task(self._verify())
        except* BlkcoloError as errors:
            error = _first(errors)
            self.lose(error)
            log.error(  # noqa: TRY400 - no program error: no traceback
                "link lost",
                reason=error.reason.name,
                error=str(error),
                unreplicated_bytes=self.core.totals.unreplicated,
            )

    def lose(self, error: BlkcoloError) -> None:
        """The stream is gone; replies that waited for it go out, or freeze."""
        self.core.lose(error)
        if self.settings.on_disconnect == "continue":
            self._release_all()
        self._open_gate()
        self.changed.fire()

    async def _verify(self) -> None:
        """Compares the contents as soon as the stream stands."""
        while self.core.state is ForwardState.CONNECTING:
            await self.changed.wait()
        outbox = self.core.outbox
        if outbox is None:
            return
        self.verify_done_bytes = 0
        seq = 0
        try:
            for message in verify_messages(self.disks, [v.size for v in self.volumes]):
                seq = outbox.control(message)
                self.work.fire()
                await self._until_applied(outbox, seq - _VERIFY_WINDOW)
                self.verify_done_bytes += sum(e.length for e in message.extents)
        except OSError as error:
            raise from_os_error(error, "reading the disk to compare it") from error
        await self._until_applied(outbox, seq)
        self.core.verified()
        self._release_all()
        self._open_gate()
        _log.info("contents agree", group=self.name, epoch=self.core.epoch)
        self.changed.fire()

    async def _until_applied(self, outbox: Outbox, seq: int) -> None:
        while outbox.applied_seq < seq:
            await self.changed.wait()

    def on_welcome(self, welcome: Welcome) -> Outbox:
        """The secondary took the stream; see `link.LinkOwner`."""
        self.core.welcome(welcome)
        if self.core.outbox is None:
            raise DataLoss(Reason.INTERNAL, f"group {self.name}: no outbox")
        self.changed.fire()
        return self.core.outbox

    def on_ack(self, ack: Ack) -> None:
        """The secondary made progress; see `link.LinkOwner`."""
        outbox = self.core.outbox
        if outbox is None:
            return
        outbox.acknowledge(ack.received, ack.applied, ack.durable)
        self._release(outbox)
        self._open_gate()
        self.changed.fire()

    async def stop_replication(
        self, generation: int, *, drain: bool, timeout: float
    ) -> None:
        """Ends the stream; with `drain`, when the secondary has applied all of it.

        Raises:
            DeadlineMissed: not drained within `timeout` seconds; still replicating.
        """
        self.core.check_generation(generation, may_be_newer=True)
        if drain:
            await self.drain(timeout)
        self.core.stop(generation)
        self._save(fenced=False)
        await self._end_link()
        self._release_all()
        self._open_gate()
        self.changed.fire()

    async def drain(self, timeout: float) -> None:
        """Waits until everything that was written before is applied."""
        outbox = self.core.outbox
        if outbox is None:
            return
        seq = outbox.last_seq
        deadline = asyncio.get_running_loop().time() + timeout
        while self.core.outbox is outbox and outbox.applied_seq < seq:
            left = deadline - asyncio.get_running_loop().time()
            if not await self.changed.wait(max(left, 0.0)):
                raise DeadlineMissed(
                    Reason.DEADLINE,
                    f"group {self.name}: {outbox.unapplied_covered_bytes} bytes are"
                    " not applied on the secondary; ask again, or stop without drain",
                )

    async def fence(self, generation: int) -> None:
        """Refuses VM writes from here on; durable when this returns."""
        self.core.fence(generation)
        self._save(fenced=True)
        await self._end_link()
        self._release_all()
        self._open_gate()
        self.changed.fire()
        _log.warning("fenced", group=self.name, generation=generation)

    def _save(self, *, fenced: bool) -> None:
        state = DurableState(self.core.generation, fenced)
        durable_state.save(self._folder, self.name, state)

    async def _end_link(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.cancel()
            await asyncio.wait([link])

    async def close(self, drain_timeout: float) -> None:
        """Drains if that goes quickly, then ends everything."""
        try:
            await self.drain(drain_timeout)
        finally:
            await self._end_link()
            self._release_all()
            if self._flushes:
                await asyncio.wait(self._flushes)
            self._slow.shutdown()

    # Checkpoints.

    def prepare(self, epoch: int, generation: int) -> int:
        """Puts the barrier into the stream; returns its seq."""
        seq = self.core.prepare(epoch, generation)
        self.work.fire()
        return seq

    def do_checkpoint(self, epoch: int, generation: int) -> int:
        """Learns of a commit."""
        committed = self.core.do_checkpoint(epoch, generation)
        self.changed.fire()
        return committed

    # VM writes, called from the exports.

    def writable_now(self) -> asyncio.Future[None] | None:
        """None if a write may come; see `nbd.export.Export`."""
        if not self._held_up():
            return None
        if self._gate is None:
            self._gate = asyncio.get_running_loop().create_future()
        return self._gate

    def _held_up(self) -> bool:
        if self.core.state is ForwardState.LOST:
            return self.settings.on_disconnect == "freeze"
        if self.core.in_flight_bytes < self.settings.window_bytes:
            return False
        if self.settings.on_congestion == "detach":
            self._detach()
            return False
        return True

    def _detach(self) -> None:
        """The window is full: go on unprotected rather than wait."""
        self.lose(
            DataLoss(
                Reason.CONGESTION,
                f"group {self.name}: {self.settings.window_bytes} bytes were in flight"
                " and on_congestion is detach; resume replication when the link is"
                " faster, or choose throttle",
            )
        )
        if self._link is not None:
            self._link.cancel()

    def _open_gate(self) -> None:
        gate = self._gate
        if gate is not None and not self._held_up():
            self._gate = None
            if not gate.done():
                gate.set_result(None)

    def write(
        self, volume: int, offset: int, data: memoryview, *, fua: bool
    ) -> asyncio.Future[None] | None:
        """Writes locally and into the stream; raises OSError."""
        self._check_writable()
        try:
            self.disks[volume].write(offset, data)
        except OSError:
            self._mirror(volume, offset, len(data))
            raise
        return self._answer(volume, self.core.wrote(volume, offset, data), fua=fua)

    def zero(
        self,
        volume: int,
        offset: int,
        length: int,
        work: Callable[[], None],
        *,
        trim: bool,
        fua: bool,
    ) -> asyncio.Future[None] | None:
        """Zeroes locally by `work` and in the stream; raises OSError."""
        self._check_writable()
        try:
            work()
        except OSError as error:
            if error.errno != errno.ENOTSUP:  # that says: nothing was done
                self._mirror(volume, offset, length)
            raise
        seq = self.core.zeroed(volume, offset, length, trim=trim)
        return self._answer(volume, seq, fua=fua)

    def _check_writable(self) -> None:
        if self.core.state is ForwardState.FENCED:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    def _mirror(self, volume: int, offset: int, length: int) -> None:
        """After a failed local write: send what the disk holds now.

        The write may be half done. Where even reading fails, the sides may differ:
        the link counts as lost.
        """
        try:
            for start in range(offset, offset + length, _MIRROR_STEP):
                content = bytearray(min(_MIRROR_STEP, offset + length - start))
                self.disks[volume].read_into(start, memoryview(content))
                self.core.wrote(volume, start, memoryview(content))
        except OSError as error:
            name = self.volumes[volume].name
            self.lose(from_os_error(error, "reading the disk back", name, offset))
            if self._link is not None:
                self._link.cancel()
        self.work.fire()

    def _answer(
        self, volume: int, seq: int | None, *, fua: bool
    ) -> asyncio.Future[None] | None:
        """What the reply to a write waits for, by the ack policy."""
        self.work.fire()
        if fua:
            return self.flush(volume)
        waits = seq is not None and self.settings.ack_policy != "async"
        frozen = (
            self.core.state is ForwardState.LOST
            and self.settings.on_disconnect == "freeze"
        )
        return self._writes.wait_for(seq or 0) if waits or frozen else None

    def flush(self, volume: int) -> asyncio.Future[None]:
        """Makes the local disk durable; with `applied`, the secondary's too."""
        disk = self.disks[volume]
        loop = asyncio.get_running_loop()
        local = loop.run_in_executor(self._slow, disk.sync)
        outbox = self.core.outbox
        if self.settings.ack_policy != "applied" or outbox is None:
            return local
        remote = self._durable.wait_for(outbox.control(Flush()))
        self.work.fire()
        both = loop.create_task(_both(local, remote), name=f"flush {self.name}")
        self._flushes.add(both)
        both.add_done_callback(self._flushes.discard)
        return both

    def _release(self, outbox: Outbox) -> None:
        """Lets replies go whose seq the secondary has reached."""
        reached = (
            outbox.received_seq
            if self.settings.ack_policy == "received"
            else outbox.applied_seq
        )
        self._writes.release(reached)
        self._durable.release(outbox.durable_seq)

    def _release_all(self) -> None:
        self._writes.release_all()
        self._durable.release_all()


async def _both(first: asyncio.Future[None], second: asyncio.Future[None]) -> None:
    await asyncio.gather(first, second)


def _first(errors: BaseExceptionGroup[BlkcoloError]) -> BlkcoloError:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if not isinstance(error, BlkcoloError):
        raise TypeError(error)
    return error
