"""The streams of one group, one at a time: opened, drained, lost and ended.

What happens in one of them is the business of `stream_run`.
"""

from __future__ import annotations

import asyncio
import errno
from typing import TYPE_CHECKING

import structlog

from blkcolo.errors import BlkcoloError, DeadlineMissed, Reason, Refused
from blkcolo.stream import Hello
from blkcolo_primary.core.forward_state import STREAMING, ForwardState
from blkcolo_primary.runtime.stream_run import StreamRun

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blkcolo.addresses import Address
    from blkcolo.rpc.client import Dialer
    from blkcolo.stream import VolumeId
    from blkcolo.wakeup import Wakeup
    from blkcolo_primary.core.forwarder import ForwarderCore
    from blkcolo_primary.runtime.resync_run import ResyncRun
    from blkcolo_primary.runtime.verify_runs import VerifyRuns
    from blkcolo_primary.settings import ForwardSettings
    from blkcolo_primary.vm.vm_writes import VmWrites

_log = structlog.get_logger(__name__)


class Streams:
    """Owns the stream that stands, and the task that runs it."""

    def __init__(
        self,
        core: ForwarderCore,
        settings: ForwardSettings,
        volumes: Sequence[VolumeId],
        dialer: Dialer,
        vm_writes: VmWrites,
        verify: VerifyRuns,
        *,
        work: Wakeup,
        changed: Wakeup,
    ) -> None:
        """There is no stream.

        Args:
            core: the group's core.
            settings: its options.
            volumes: its volumes.
            dialer: reaches the secondary.
            vm_writes: what a loss releases, freezes or refuses.
            verify: the verify passes, which run in a stream.
            work: fires when there is something to send.
            changed: fires when anything has changed, and is fired here.
        """
        self._core = core
        self._settings = settings
        self._volumes = volumes
        self._dialer = dialer
        self._vm_writes = vm_writes
        self._verify = verify
        self._work = work
        self._changed = changed
        self._link: asyncio.Task[None] | None = None
        self._stream: StreamRun | None = None

    async def start(
        self,
        generation: int,
        address: Address,
        timeout: float,
        *,
        discard_secondary: bool = False,
        stop_mark: int = 0,
    ) -> None:
        """Opens the stream, and returns when the secondary welcomed it.

        Args:
            generation: the caller's.
            address: the secondary's gRPC.
            timeout: seconds.
            discard_secondary: it may overwrite what never came from this group.
            stop_mark: see `ForwarderCore.start`.

        Raises:
            BlkcoloError: refused here or by the secondary, or not within `timeout`.
        """
        self._dialer.check(address)
        self._core.start(generation, stop_mark)
        await self.end()
        if self._core.state is not ForwardState.CONNECTING or self._link is not None:
            raise self._ended_meanwhile()
        hello = Hello(
            self._core.group,
            generation,
            tuple(self._volumes),
            discard_secondary=discard_secondary,
            epoch=self._core.epoch,
        )
        self._open(address, hello)
        if not await self._changed.until(
            lambda: self._core.state is not ForwardState.CONNECTING, timeout
        ):
            raise DeadlineMissed(
                Reason.DEADLINE,
                f"group {self._core.group}: {address} did not answer within"
                f" {timeout:g} s; look at it and at the network",
            )
        if self._core.state not in STREAMING:
            raise self._core.failure or self._ended_meanwhile()

    def _open(self, address: Address, hello: Hello) -> None:
        self._stream = StreamRun(
            self._core,
            self._volumes,
            self._vm_writes,
            self._verify,
            work=self._work,
            changed=self._changed,
        )
        self._link = asyncio.create_task(
            self._run(self._stream, address, hello), name=f"link {hello.group}"
        )

    def _ended_meanwhile(self) -> Refused:
        return Refused(
            Reason.NOT_REPLICATING,
            f"group {self._core.group} is {self._core.state.name}: its start was"
            " ended meanwhile by another call; ask again if it is still wanted",
        )

    async def _run(self, stream: StreamRun, address: Address, hello: Hello) -> None:
        """Runs one stream to its end, and tells the core why it ended."""
        log = _log.bind(group=self._core.group, generation=self._core.generation)
        waited_for = self._settings.ack_policy != "async"
        try:
            await stream.run(
                self._dialer,
                address,
                hello,
                timeout=self._settings.link_timeout_seconds,
                gather=0.0 if waited_for else self._settings.gather_seconds,
            )
        except BlkcoloError as error:
            self.lose(error)
            log.error(  # noqa: TRY400 - no program error: no traceback
                "link lost",
                reason=error.reason.name,
                error=str(error),
                unreplicated_bytes=self._core.traffic.unreplicated_bytes,
            )

    def lose(self, error: BlkcoloError) -> None:
        """The stream is gone; replies that waited for it go out, or freeze."""
        self._core.lose(error)
        if self._link is not None and self._link is not asyncio.current_task():
            self._link.cancel()
        if self._core.state is ForwardState.FENCED:
            self._vm_writes.refuse_all(errno.EPERM)
        self._vm_writes.link_lost()
        self._changed.fire()

    async def drain(self, timeout: float) -> None:
        """Waits until everything that was written before is applied."""
        stream = self._core.stream
        if stream is None:
            return
        outbox, seq = stream.outbox, stream.outbox.last_seq
        if not await self._changed.until(
            lambda: self._core.stream is not stream or outbox.applied_seq >= seq,
            timeout,
        ):
            raise DeadlineMissed(
                Reason.DEADLINE,
                f"group {self._core.group}: {outbox.unapplied_covered_bytes} bytes are"
                " not applied on the secondary; ask again, or stop without drain",
            )

    async def end(self) -> None:
        """Ends the task; whoever calls this tells the core."""
        link, self._link = self._link, None
        if link is not None:
            link.cancel()
            await asyncio.wait([link])

    @property
    def no_progress_seconds(self) -> float:
        """For how long the secondary applied nothing of what is under way."""
        return self._stream.idle_seconds if self._stream is not None else 0.0

    @property
    def resync_run(self) -> ResyncRun | None:
        """The newest stream's resync."""
        return self._stream.resync if self._stream is not None else None
