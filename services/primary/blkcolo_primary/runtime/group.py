"""One group on the primary at run time: the calls that begin, guard and end its stream.

What happens in the stream is the business of `stream_run`, what the VM writes
meanwhile that of `vm_writes`.
"""

from __future__ import annotations

import asyncio
import errno
from contextlib import suppress
from time import perf_counter
from typing import TYPE_CHECKING

import structlog

from blkcolo.errors import (
    BlkcoloError,
    DeadlineMissed,
    Reason,
    Refused,
    Unavailable,
    translated,
)
from blkcolo.observe.histograms import LatencyHistogram
from blkcolo.stream import Hello
from blkcolo.wakeup import Wakeup
from blkcolo_primary.core.forward_state import STREAMING, ForwardState
from blkcolo_primary.core.forwarder import ForwarderCore
from blkcolo_primary.runtime.intent_clearing import IntentClearing
from blkcolo_primary.runtime.stream_run import StreamRun
from blkcolo_primary.runtime.verify_runs import VerifyRuns
from blkcolo_primary.vm.vm_writes import VmWrites

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blkcolo.addresses import Address
    from blkcolo.intent.log import IntentLog
    from blkcolo.rpc.client import Dialer
    from blkcolo.storage.files import BlockFile, Folder
    from blkcolo.storage.volume_growth import VolumeGrowth
    from blkcolo.stream import VolumeId
    from blkcolo_primary.runtime.resync_run import ResyncRun
    from blkcolo_primary.settings import ForwardSettings

_log = structlog.get_logger(__name__)

#: VM writes are held for so many seconds at most.
_LONGEST_HOLD = 60.0


class ForwardGroup:
    """Drives one `ForwarderCore`."""

    def __init__(
        self,
        name: str,
        settings: ForwardSettings,
        volumes: Sequence[VolumeId],
        disks: Sequence[BlockFile],
        folder: Folder,
        intent: IntentLog,
        growth: VolumeGrowth,
        dialer: Dialer,
    ) -> None:
        """Goes on from what the folder says; the intent log stays the caller's.

        Raises:
            DataLoss: the state file is damaged.
        """
        self.name = name
        self.settings = settings
        self._dialer = dialer
        #: Shared by all that must know when one grows.
        self.volumes = volumes
        self.disks = disks
        self.work = Wakeup()
        self.changed = Wakeup()
        self._folder = folder
        self._growth = growth
        self.core = ForwarderCore(
            name,
            disks,
            folder,
            intent,
            settings.batch_bytes,
            settings.window_bytes,
            host=settings.durability == "host",
            leaves_to_resync=settings.ack_policy == "async",
        )
        self.vm_writes = VmWrites(
            self.core,
            settings,
            volumes,
            self.lose,
            work=self.work,
            changed=self.changed,
        )
        self.verify = VerifyRuns(
            self.core,
            lambda: self.vm_writes.served_bytes,
            work=self.work,
            changed=self.changed,
            scrub_limit=settings.scrub_bytes_per_second,
        )
        self._closing = False
        self._link: asyncio.Task[None] | None = None
        self._stream: StreamRun | None = None
        #: How long a step of a checkpoint held the loop, and VM writes with it.
        self.stalls = LatencyHistogram()
        self._clearing = IntentClearing(self.core, self.vm_writes)

    # Replication.

    async def start_replication(
        self,
        generation: int,
        address: Address,
        timeout: float,
        *,
        discard_secondary: bool = False,
    ) -> None:
        """Opens the stream, and returns when the secondary welcomed it.

        Args:
            generation: the caller's.
            address: the secondary's gRPC.
            timeout: seconds.
            discard_secondary: it may overwrite what never came from this group.

        Raises:
            BlkcoloError: refused here or by the secondary, or not within `timeout`.
        """
        self._dialer.check(address)
        self.core.start(generation)
        await self._end_link()
        if self.core.state is not ForwardState.CONNECTING or self._link is not None:
            raise self._ended_meanwhile()
        hello = Hello(
            self.name,
            generation,
            tuple(self.volumes),
            discard_secondary=discard_secondary,
            epoch=self.core.epoch,
        )
        stream = self._stream = StreamRun(
            self.core,
            self.volumes,
            self.vm_writes,
            self.verify,
            work=self.work,
            changed=self.changed,
        )
        self._link = asyncio.create_task(
            self._run(stream, address, hello), name=f"link {self.name}"
        )
        if not await self.changed.until(
            lambda: self.core.state is not ForwardState.CONNECTING, timeout
        ):
            raise DeadlineMissed(
                Reason.DEADLINE,
                f"group {self.name}: {address} did not answer within"
                f" {timeout:g} s; look at it and at the network",
            )
        if self.core.state not in STREAMING:
            raise self.core.failure or self._ended_meanwhile()

    def _ended_meanwhile(self) -> Refused:
        return Refused(
            Reason.NOT_REPLICATING,
            f"group {self.name} is {self.core.state.name}: its start was"
            " ended meanwhile by another call; ask again if it is still wanted",
        )

    async def _run(self, stream: StreamRun, address: Address, hello: Hello) -> None:
        """Runs one stream to its end, and tells the core why it ended."""
        log = _log.bind(group=self.name, generation=self.core.generation)
        waited_for = self.settings.ack_policy != "async"
        try:
            await stream.run(
                self._dialer,
                address,
                hello,
                timeout=self.settings.link_timeout_seconds,
                gather=0.0 if waited_for else self.settings.gather_seconds,
            )
        except BlkcoloError as error:
            self.lose(error)
            log.error(  # noqa: TRY400 - no program error: no traceback
                "link lost",
                reason=error.reason.name,
                error=str(error),
                unreplicated_bytes=self.core.traffic.unreplicated_bytes,
            )

    def lose(self, error: BlkcoloError) -> None:
        """The stream is gone; replies that waited for it go out, or freeze."""
        self.core.lose(error)
        if self._link is not None and self._link is not asyncio.current_task():
            self._link.cancel()
        if self.core.state is ForwardState.FENCED:
            self.vm_writes.refuse_all(errno.EPERM)
        self.vm_writes.link_lost()
        self.changed.fire()

    async def stop_replication(
        self, generation: int, *, drain: bool, timeout: float
    ) -> None:
        """Ends the stream; with `drain`, when the secondary has applied all of it.

        Raises:
            DeadlineMissed: not drained within `timeout` seconds; still replicating.
        """
        self.core.standing.check_generation(generation, may_be_newer=True)
        if drain:
            await self.drain(timeout)
        self.core.stop(generation)
        await self._end_link()
        self.vm_writes.release_all()
        self.changed.fire()

    async def rest(self, seconds: float) -> None:
        """Waits until the VM writes, or the group does not replicate, or is closed.

        Args:
            seconds: then it returns in any case.

        Raises:
            Unavailable: the service stops.
        """
        await self.changed.until(
            lambda: self._closing or not self.core.unchanged, seconds
        )
        if self._closing:
            raise Unavailable(
                Reason.STOPPING,
                f"group {self.name}: this service stops; ask again when it is back",
            )

    async def drain(self, timeout: float) -> None:
        """Waits until everything that was written before is applied."""
        stream = self.core.stream
        if stream is None:
            return
        outbox, seq = stream.outbox, stream.outbox.last_seq
        if not await self.changed.until(
            lambda: self.core.stream is not stream or outbox.applied_seq >= seq, timeout
        ):
            raise DeadlineMissed(
                Reason.DEADLINE,
                f"group {self.name}: {outbox.unapplied_covered_bytes} bytes are"
                " not applied on the secondary; ask again, or stop without drain",
            )

    def hold(self, generation: int, seconds: float) -> None:
        """Lets VM writes wait, for a while at most; 0 lets them go on.

        Raises:
            Refused: the group is fenced, or the generation is not in force.
        """
        self.core.standing.check_generation(generation, may_be_newer=False)
        if self.core.state is ForwardState.FENCED:
            raise Refused(
                Reason.FENCED,
                f"group {self.name} is FENCED: it has no VM writes to hold",
            )
        self.vm_writes.hold(min(seconds, _LONGEST_HOLD))

    async def fence(
        self, generation: int, nothing_after_epoch: int | None = None
    ) -> None:
        """Refuses VM writes from here on; durable when this returns.

        Args:
            generation: the newer one.
            nothing_after_epoch: refuse, unless VM writes are held and none came after
                this epoch's barrier.

        Raises:
            BlkcoloError: it is not newer; or not stored; or a VM write came.
        """
        if nothing_after_epoch is not None:
            self._check_held_since(nothing_after_epoch)
        try:
            self.core.fence(generation)
        finally:  # one that could not be stored holds in this process
            if self.core.state is ForwardState.FENCED:
                self.vm_writes.hold(0.0)
                await self._end_link()
                self.vm_writes.refuse_all(errno.EPERM)
                self.changed.fire()
        _log.warning("fenced", group=self.name, generation=generation)

    def _check_held_since(self, epoch: int) -> None:
        if self.core.state is ForwardState.FENCED:
            return  # it was checked then; the generation is checked again
        if not self.vm_writes.held or not self.core.nothing_after(epoch):
            raise Refused(
                Reason.WRONG_STATE,
                f"group {self.name}: VM writes came after checkpoint {epoch}, so that"
                " a switchover would lose them; call it again",
                epoch=epoch,
            )

    async def _end_link(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.cancel()
            await asyncio.wait([link])

    async def close(self, drain_timeout: float) -> None:
        """Lets the secondary catch up within `drain_timeout` seconds; ends everything.

        VM writes must have ended before.

        Raises:
            DeadlineMissed: it did not; everything is closed all the same.
        """
        stream = self.core.stream
        self._closing = True
        self.changed.fire()
        try:
            with suppress(DeadlineMissed):  # what is left is said below
                await self.drain(drain_timeout)
        finally:
            await self._end_link()
            await self._clearing.close()
            self.core.intent.abandon_clear()
            await self.vm_writes.close()
        left = stream.outbox.unapplied_covered_bytes if stream is not None else 0
        if left:
            raise DeadlineMissed(
                Reason.DEADLINE,
                f"group {self.name}: {left} bytes that the VM wrote are not applied on"
                " the secondary; the disk here has them, and they are sent when this"
                " service starts again",
            )

    # Checkpoints.

    def prepare(self, epoch: int, generation: int) -> int:
        """Puts the barrier into the stream; returns its seq."""
        began = perf_counter()
        seq = self.core.prepare(epoch, generation)
        self.work.fire()
        self.stalls.observe(perf_counter() - began)
        return seq

    def do_checkpoint(self, epoch: int, generation: int) -> int:
        """Learns of a commit."""
        began = perf_counter()
        committed = self.core.do_checkpoint(epoch, generation)
        self.verify.committed()
        self._clearing.committed()
        self.changed.fire()
        self.stalls.observe(perf_counter() - began)
        return committed

    @property
    def no_progress_seconds(self) -> float:
        """For how long the secondary applied nothing of what is under way."""
        return self._stream.idle_seconds if self._stream is not None else 0.0

    @property
    def resync_run(self) -> ResyncRun | None:
        """The newest stream's resync."""
        return self._stream.resync if self._stream is not None else None

    # Sizes.

    async def grow(self, name: str, size: int, generation: int) -> VolumeId:
        """Makes a volume larger; its secondary is before. Answers the same again.

        The stream goes on. Where the image was extended by somebody else its tail may
        hold anything: the stream is opened anew, and the tail compared.

        Raises:
            BlkcoloError: refused, or the disk refused; the old size is in force.
        """
        self.core.standing.check_generation(generation, may_be_newer=False)
        index = self._growth.find(name)
        before, disk = self.volumes[index], self.disks[index]
        extended = disk.size != before.size
        self._growth.grow(index, size)
        if self.volumes[index] == before:
            return before
        await self.vm_writes.intent_sync.idle()  # no thread holds the log's file
        with translated("writing the intent log", name):
            self.core.intent.grow(index, size)
            if extended:
                self.core.writes.intend(index, before.size, size - before.size)
        if extended:
            self.lose(
                Unavailable(
                    Reason.REQUESTED,
                    f"volume {name} has grown: its tail is compared in a new stream",
                )
            )
        _log.info("volume grown", group=self.name, volume=name, size=size)
        return self.volumes[index]
