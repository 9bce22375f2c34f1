"""One group on the primary at run time: what runs around its core, and what guards it.

Its streams are the business of `streams`, what the VM writes that of `vm_writes`.
"""

from __future__ import annotations

import errno
import math
import secrets
from contextlib import suppress
from time import perf_counter
from typing import TYPE_CHECKING

import structlog

from blkcolo.errors import (
    DeadlineMissed,
    Reason,
    Refused,
    Unavailable,
    translated,
)
from blkcolo.observe.histograms import LatencyHistogram
from blkcolo.wakeup import Wakeup
from blkcolo.watch import Watch
from blkcolo_primary.core.forward_state import ForwardState
from blkcolo_primary.core.forwarder import ForwarderCore
from blkcolo_primary.core.window import Window
from blkcolo_primary.runtime.intent_clearing import IntentClearing
from blkcolo_primary.runtime.streams import Streams
from blkcolo_primary.runtime.verify_runs import VerifyRuns
from blkcolo_primary.vm.vm_writes import VmWrites

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blkcolo.errors import BlkcoloError
    from blkcolo.intent.log import IntentLog
    from blkcolo.rpc.client import Dialer
    from blkcolo.storage.files import BlockFile, Folder
    from blkcolo.storage.volume_growth import VolumeGrowth
    from blkcolo.stream import VolumeId
    from blkcolo.watch import Terms
    from blkcolo_primary.core.watch import ForwardWatch
    from blkcolo_primary.settings import ForwardSettings

_log = structlog.get_logger(__name__)

#: VM writes are held for so many seconds at most.
_LONGEST_HOLD = 60.0


class ForwardGroup:
    """Drives one `ForwarderCore`.

    Attributes:
        name: the group's.
        settings: its options.
        volumes: its volumes; shared by all that must know when one grows.
        disks: their disks.
        core: the core.
        work: fires when there is something to send.
        changed: fires when anything has changed.
        streams: opens and ends its streams.
        vm_writes: the write path.
        verify: the verify passes.
        stalls: how long a step of a checkpoint held the loop, and VM writes with it.
    """

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
        self.volumes = volumes
        self.disks = disks
        self.work = Wakeup()
        self.changed = Wakeup()
        self._growth = growth
        self.core = _core(name, settings, disks, folder, intent)
        self.vm_writes = VmWrites(
            self.core,
            settings,
            volumes,
            self._lose,
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
        self.streams = Streams(
            self.core,
            settings,
            volumes,
            dialer,
            self.vm_writes,
            self.verify,
            work=self.work,
            changed=self.changed,
        )
        if settings.warning:
            _log.warning(settings.warning, group=name)
        self._watch = Watch(self.changed)
        self._closing = False
        self.stalls = LatencyHistogram()
        self._clearing = IntentClearing(self.core, self.vm_writes)

    def _lose(self, error: BlkcoloError) -> None:
        self.streams.lose(error)

    # Replication.

    async def stop_replication(
        self, generation: int, *, drain: bool, timeout: float
    ) -> None:
        """Ends the stream; with `drain`, when the secondary has applied all of it.

        Raises:
            DeadlineMissed: not drained within `timeout` seconds; still replicating.
        """
        self.core.standing.check_generation(generation, may_be_newer=True)
        if drain:
            await self.streams.drain(timeout)
        self.core.stop(generation)
        await self.streams.end()
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
        self._check_open()

    async def watch(self, watch: ForwardWatch, terms: Terms) -> bool:
        """Waits until there is something to act on; False if the time was over before.

        Args:
            watch: what that is.
            terms: how long; True as well if a newer watch ended it.

        Raises:
            Unavailable: the service stops.
        """
        found = await self._watch.wait(
            lambda: self._closing or self.core.due(watch),
            lambda: self.core.unchanged,
            terms,
        )
        self._check_open()
        return found

    def _check_open(self) -> None:
        if self._closing:
            raise Unavailable(
                Reason.STOPPING,
                f"group {self.name}: this service stops; ask again when it is back",
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
                await self.streams.end()
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

    async def close(self, drain_timeout: float) -> None:
        """Lets the secondary catch up within `drain_timeout` seconds; ends everything.

        VM writes must have ended before.

        Raises:
            DeadlineMissed: it did not; everything is closed all the same.
        """
        stream = self.core.stream
        self._closing = True
        self.changed.fire()
        self._watch.end()
        try:
            with suppress(DeadlineMissed):  # what is left is said below
                await self.streams.drain(drain_timeout)
        finally:
            await self.streams.end()
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
        self.changed.fire()
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
            self.streams.lose(
                Unavailable(
                    Reason.REQUESTED,
                    f"volume {name} has grown: its tail is compared in a new stream",
                )
            )
        _log.info("volume grown", group=self.name, volume=name, size=size)
        return self.volumes[index]


def _core(
    name: str,
    settings: ForwardSettings,
    disks: Sequence[BlockFile],
    folder: Folder,
    intent: IntentLog,
) -> ForwarderCore:
    return ForwarderCore(
        name,
        disks,
        folder,
        intent,
        settings.batch_bytes,
        Window(settings.window_bytes, settings.window_writes or math.inf),
        host=settings.durability == "host",
        leaves_to_resync=settings.ack_policy == "async",
        first_stop_mark=secrets.randbits(62) + 1,
    )
