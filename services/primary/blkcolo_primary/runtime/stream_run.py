"""One stream at run time: its link, its resync, and what the secondary answers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from blkcolo.errors import BlkcoloError, DataLoss, Reason, first_of, translated
from blkcolo_primary.core.forward_state import ForwardState
from blkcolo_primary.runtime.link import Link
from blkcolo_primary.runtime.resync_run import ResyncRun

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blkcolo.addresses import Address
    from blkcolo.rpc.client import Dialer
    from blkcolo.stream import Ack, Hello, Mismatch, VolumeId, Welcome
    from blkcolo.wakeup import Wakeup
    from blkcolo_primary.core.forwarder import ForwarderCore
    from blkcolo_primary.core.outbox import Outbox
    from blkcolo_primary.runtime.verify_runs import VerifyRuns
    from blkcolo_primary.vm.vm_writes import VmWrites

_log = structlog.get_logger(__name__)


class StreamRun:
    """Runs one stream; see `link.LinkOwner` for what its link tells it.

    Attributes:
        resync: its resync; None before the welcome.
        work: fires when the outbox has something to send, or VM writes begin to wait.
    """

    def __init__(
        self,
        core: ForwarderCore,
        volumes: Sequence[VolumeId],
        vm_writes: VmWrites,
        verify: VerifyRuns,
        *,
        work: Wakeup,
        changed: Wakeup,
    ) -> None:
        """Takes the group; nothing is opened yet.

        Args:
            core: its core, which is CONNECTING.
            volumes: its volumes.
            vm_writes: released by what the secondary acknowledges.
            verify: the verify passes, which run in the stream.
            work: see above.
            changed: fires when anything has changed, and is fired here.
        """
        self.work = work
        self._link: Link | None = None
        self.resync: ResyncRun | None = None
        self._core = core
        self._volumes = volumes
        self._vm_writes = vm_writes
        self._verify = verify
        self._changed = changed

    async def run(
        self,
        dialer: Dialer,
        address: Address,
        hello: Hello,
        *,
        timeout: float,
        gather: float,
    ) -> None:
        """Opens the stream, and runs it until cancelled; see `Link`.

        Raises:
            BlkcoloError: it is lost, and why.
        """
        self._link = Link(self, dialer, address, hello, timeout, gather)
        lost: BlkcoloError | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._link.run())
                tasks.create_task(self._resync())
                tasks.create_task(self._verify.run())
        except* BlkcoloError as errors:
            lost = first_of(errors, BlkcoloError)
        if lost is not None:
            raise lost

    async def _resync(self) -> None:
        """Brings the contents together as soon as the stream stands."""
        while self._core.state is ForwardState.CONNECTING:
            await self._changed.wait()
        core = self._core
        if core.stream is None:
            return
        run = self.resync = ResyncRun(
            core,
            core.stream,
            self._vm_writes,
            work=self.work,
            changed=self._changed,
        )
        await run.run()
        if core.state is ForwardState.REPLICATING:
            self._vm_writes.release_all()
            _log.info(
                "contents agree",
                group=core.group,
                epoch=core.epoch,
                plan=core.plan.name if core.plan else None,
                compared_bytes=run.comparison.total_bytes,
                resent_bytes=run.comparison.resent_bytes,
            )
        self._changed.fire()

    def on_welcome(self, welcome: Welcome) -> Outbox:
        """The secondary took the stream; returns what is to be sent."""
        core = self._core
        with translated("writing the intent log"):
            core.welcome(welcome)
        stream = core.stream
        if stream is None:
            raise DataLoss(Reason.INTERNAL, f"group {core.group}: no stream")
        log = _log.bind(group=core.group, plan=core.plan.name if core.plan else None)
        log.info("resync starts", bytes=stream.resync.total_bytes)
        if core.intent.base is None and welcome.committed is not None:
            log.warning("no intent log of this copy: everything is compared")
        self._changed.fire()
        return stream.outbox

    @property
    def throttled(self) -> bool:
        """True while VM writes wait."""
        return self._vm_writes.throttled

    def on_ack(self, ack: Ack) -> None:
        """The secondary made progress."""
        stream = self._core.stream
        if stream is None:
            return
        stream.outbox.acknowledge(ack)
        self._vm_writes.release(stream.outbox)
        self._changed.fire()

    def on_mismatch(self, mismatch: Mismatch) -> None:
        """Extents differ: they are sent again."""
        with translated("reading the disk to send it again"):
            findings = self._core.mismatch(mismatch)
        for finding in findings:
            _log.error(
                "verify: the secondary's disk differs, and is repaired",
                group=self._core.group,
                volume=self._volumes[finding.volume].name,
                offset=finding.extent.offset,
                length=finding.extent.length,
            )
        self.work.fire()

    @property
    def idle_seconds(self) -> float:
        """For how long the secondary applied nothing of what is under way."""
        stream = self._core.stream
        if stream is None or self._link is None:
            return 0.0
        return self._link.idle_seconds(stream.outbox)
