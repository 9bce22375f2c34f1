"""The VM's writes at run time: when they may come, and what each reply waits for.

Local writes (`local_writes`) run on the event loop's thread, one after the other;
fdatasync runs on a thread of its own.
"""

from __future__ import annotations

import asyncio
import errno
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter, time
from typing import TYPE_CHECKING

from blkcolo.errors import from_os_error
from blkcolo.intent.sync import IntentSync
from blkcolo.observe.histograms import LatencyHistogram
from blkcolo.stream import Flush
from blkcolo_primary.core.forward_state import ForwardState
from blkcolo_primary.vm.local_writes import LocalWrites
from blkcolo_primary.vm.pending_replies import PendingReplies

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from blkcolo.errors import BlkcoloError
    from blkcolo.stream import VolumeId
    from blkcolo.wakeup import Wakeup
    from blkcolo_primary.core.forwarder import ForwarderCore
    from blkcolo_primary.core.outbox import Outbox
    from blkcolo_primary.settings import ForwardSettings


class VmWrites:
    """The write path of one group."""

    def __init__(
        self,
        core: ForwarderCore,
        policy: ForwardSettings,
        volumes: Sequence[VolumeId],
        lose: Callable[[BlkcoloError], None],
        *,
        work: Wakeup,
        changed: Wakeup,
    ) -> None:
        """Takes the group whose stream the writes enter.

        Args:
            core: its core.
            policy: its options.
            volumes: its volumes.
            lose: gives the stream up, and says why.
            work: to be fired when there is something to send, or writes begin to wait.
            changed: likewise, for those who wait for the VM to write.
        """
        self._core = core
        self._policy = policy
        #: No reply waits for the secondary, and no write for the sync of its mark.
        self.takes_bursts = policy.ack_policy == "async" and not core.host
        self._work = work
        self._changed = changed
        self._lose = lose
        self._slow = ThreadPoolExecutor(1, f"slow-{core.group}")
        self._writes = PendingReplies()
        self._durable = PendingReplies()
        self._gate: asyncio.Future[None] | None = None
        #: Bytes that the VM read, wrote or zeroed since the service started, by volume.
        self.served = [0] * len(volumes)
        self.intent_sync = IntentSync(
            core.intent, core.writes.intend, self._run_slow, self._intent_not_durable
        )
        self._flushes: set[asyncio.Task[None]] = set()
        self._local = LocalWrites(
            core, volumes, lose, host=core.host, clock=perf_counter
        )
        #: What replication adds to the latency of writes without FUA.
        self.added = LatencyHistogram()
        self._gate_began = 0.0
        self._hold: asyncio.TimerHandle | None = None
        #: When the VM last wrote, seconds since 1970; 0: not in this life.
        self.last_at = 0.0

    def _run_slow(self, work: Callable[[], None]) -> asyncio.Future[None]:
        return asyncio.get_running_loop().run_in_executor(self._slow, work)

    def _intent_not_durable(self, error: OSError) -> None:
        self._lose(from_os_error(error, "syncing the intent log"))

    @property
    def served_bytes(self) -> int:
        """Of all volumes."""
        return sum(self.served)

    @property
    def throttled(self) -> bool:
        """True while VM writes wait for the secondary."""
        return self._gate is not None

    def admit(
        self, volume: int, offset: int, length: int
    ) -> asyncio.Future[None] | None:
        """None if the write may come; see `nbd.export.Export`."""
        if self._held_up():
            if self._gate is None:
                self._gate = asyncio.get_running_loop().create_future()
                self._gate_began = perf_counter()
                self._work.fire()  # what was to be joined by more can go
            return self._gate
        if self._core.host:
            return self.intent_sync.wait_for(volume, offset, length)
        return None

    def hold(self, seconds: float) -> None:
        """Lets writes wait until `seconds` have passed, or for 0 go on at once."""
        if self._hold is not None:
            self._hold.cancel()
            self._hold = None
        if seconds > 0:
            loop = asyncio.get_running_loop()
            self._hold = loop.call_later(seconds, self.hold, 0.0)
        self._open_gate()

    @property
    def held(self) -> bool:
        """True while writes wait by request."""
        return self._hold is not None

    def _held_up(self) -> bool:
        core = self._core
        if self._hold is not None:
            return True
        if self._policy.on_disconnect == "freeze" and core.standing.cut_off:
            return True
        if not core.writes.congested:
            return False
        if self._policy.on_congestion == "detach":
            self._lose(self._local.congestion())
            return False
        return True

    def _open_gate(self) -> None:
        gate = self._gate
        if gate is not None and not self._held_up():
            self._gate = None
            self.added.observe(perf_counter() - self._gate_began)
            if not gate.done():
                gate.set_result(None)

    def write(
        self, volume: int, offset: int, data: memoryview, *, fua: bool
    ) -> asyncio.Future[None] | None:
        """Writes locally and into the stream; raises OSError."""
        self.served[volume] += len(data)
        self.last_at = time()
        began = perf_counter()
        try:
            seq = self._local.write(volume, offset, data)
        finally:
            self._wake_sender()
        return self._answer(volume, seq, began, fua=fua)

    def write_each(
        self, volume: int, offsets: Sequence[int], pieces: Sequence[memoryview]
    ) -> int:
        """Writes of one length; how many are done: see `nbd.export.WriteEach`.

        Needs `takes_bursts`.
        """
        if self._frozen or self._held_up():
            return 0
        began = perf_counter()
        try:
            done = self._local.write_each(volume, offsets, pieces)
        finally:
            self._wake_sender()
        if done:
            self.served[volume] += done * len(pieces[0])
            self.last_at = time()
            added = perf_counter() - began - self._local.disk_seconds
            self.added.observe(added / done, done)
        return done

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
        self.served[volume] += length
        self.last_at = time()
        began = perf_counter()
        try:
            seq = self._local.zero(volume, offset, length, work, trim=trim)
        finally:
            self._wake_sender()
        return self._answer(volume, seq, began, fua=fua)

    @property
    def _frozen(self) -> bool:
        """True while no write may be answered, since no secondary has it."""
        lost = self._core.standing.state is ForwardState.LOST
        return lost and self._policy.on_disconnect == "freeze"

    def _wake_sender(self) -> None:
        stream = self._core.standing.stream
        if stream is not None and stream.outbox.has_news():
            self._work.fire()
            self._changed.fire()

    def _answer(
        self, volume: int, seq: int | None, began: float, *, fua: bool
    ) -> asyncio.Future[None] | None:
        """What the reply to a write waits for, by the ack policy."""
        if fua:
            return self.flush(volume)
        began += self._local.disk_seconds
        waits = seq is not None and self._policy.ack_policy != "async"
        if not waits and not self._frozen:
            self.added.observe(perf_counter() - began)
            return None
        reply = self._writes.wait_for(seq or 0)
        reply.add_done_callback(lambda _: self.added.observe(perf_counter() - began))
        return reply

    def flush(self, volume: int) -> asyncio.Future[None]:
        """Makes the local disk durable; with `applied`, the secondary's too."""
        disk = self._core.disks[volume]
        loop = asyncio.get_running_loop()
        local = loop.run_in_executor(self._slow, disk.sync)
        stream = self._core.standing.stream
        if self._policy.ack_policy != "applied" or stream is None:
            return local
        remote = self._durable.wait_for(stream.outbox.control(Flush()))
        self._work.fire()
        both = loop.create_task(_both(local, remote), name=f"flush {self._core.group}")
        self._flushes.add(both)
        both.add_done_callback(self._flushes.discard)
        return both

    def sync_disks(self) -> asyncio.Future[None]:
        """Makes all local disks durable, off the loop."""

        def work() -> None:
            for disk in self._core.disks:
                disk.sync()

        return asyncio.get_running_loop().run_in_executor(self._slow, work)

    def release(self, outbox: Outbox) -> None:
        """Lets replies go whose seq the secondary has reached."""
        reached = (
            outbox.received_seq
            if self._policy.ack_policy == "received"
            else outbox.applied_seq
        )
        self._writes.release(reached)
        self._durable.release(outbox.durable_seq)
        self._open_gate()

    def link_lost(self) -> None:
        """Replies that waited for the stream go out, or freeze."""
        if self._policy.on_disconnect == "continue":
            self.release_all()
        self._open_gate()

    def release_all(self) -> None:
        """Lets everything go: there is no stream to wait for."""
        self._writes.release_all()
        self._durable.release_all()
        self._open_gate()

    def refuse_all(self, number: int) -> None:
        """Fails what waits: nobody will ever know whether the secondary has it."""
        self._writes.refuse_all(number)
        self._durable.refuse_all(number)
        self._open_gate()

    async def close(self) -> None:
        """Fails what still waits, and ends the thread."""
        self.hold(0.0)
        self.refuse_all(errno.ESHUTDOWN)
        if self._flushes:
            await asyncio.wait(self._flushes)
        self._slow.shutdown()


async def _both(first: asyncio.Future[None], second: asyncio.Future[None]) -> None:
    await asyncio.gather(first, second)
