"""The verify passes of one group at run time: on demand, and as a continuous scrub."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from blkcolo.errors import BlkcoloError, Reason, Refused
from blkcolo_primary.core.forward_state import ForwardState
from blkcolo_primary.record import verify_record
from blkcolo_primary.record.verify_record import VerifyRecord
from blkcolo_primary.runtime.comparison_run import ComparisonRun

if TYPE_CHECKING:
    from collections.abc import Callable

    from blkcolo.wakeup import Wakeup
    from blkcolo_primary.core.forwarder import ForwarderCore
    from blkcolo_primary.core.verification import VerifyPass

_log = structlog.get_logger(__name__)

#: The continuous scrub of a small disk ends often: it is recorded so often at most.
_RECORD_SECONDS = 60.0


class VerifyRuns:
    """Runs the passes of one group, one at a time."""

    def __init__(
        self,
        core: ForwarderCore,
        served: Callable[[], int],
        *,
        work: Wakeup,
        changed: Wakeup,
        scrub_limit: int,
    ) -> None:
        """Takes the group.

        Args:
            core: its core.
            served: what the VM was given since the service started, in bytes.
            work: to be fired when there is something to send.
            changed: fires when anything has changed, and is fired here.
            scrub_limit: bytes a second of the continuous scrub; 0: there is none.
        """
        self._core = core
        self._served = served
        self._work = work
        self._changed = changed
        self._scrub_limit = scrub_limit
        self._record = verify_record.load(core.folder, core.group)
        self._recorded_at = -_RECORD_SECONDS

    @property
    def verified(self) -> VerifyRecord:
        """What is known of the copy that the stream goes to, from before a restart too.

        Nothing without a stream since the start: nobody knows which copy it will be.
        """
        same = self._record.replica_id == self._core.standing.replica_id
        return self._record if same else VerifyRecord()

    def committed(self) -> None:
        """A checkpoint was committed: the first one behind a pass is recorded."""
        checkpoint = self._core.verification.checkpoint
        if checkpoint is None or checkpoint == self.verified.checkpoint:
            return
        core, now = self._core, time.monotonic()
        self._record = replace(self.verified, checkpoint=checkpoint)
        if now - self._recorded_at < _RECORD_SECONDS:
            return
        self._recorded_at = now
        try:
            verify_record.save(core.folder, core.group, self._record)
        except BlkcoloError as error:  # the checkpoint holds all the same
            _log.warning(
                "verify not recorded: a restart forgets it",
                group=core.group,
                error=str(error),
            )

    async def run(self) -> None:
        """Runs what is asked for, and the scrub, until cancelled.

        Raises:
            BlkcoloError: a disk, or the intent log, refused.
        """
        while True:
            running = self._core.verification.running or self._scrub()
            if running is None:
                await self._changed.wait()
                continue
            await self._run_pass(running)

    def _scrub(self) -> VerifyPass | None:
        replicating = self._core.state is ForwardState.REPLICATING
        if not self._scrub_limit or not replicating:
            return None
        return self._core.start_verify(scrub=True)

    async def _run_pass(self, running: VerifyPass) -> None:
        run = ComparisonRun(
            running.comparison,
            self._core.verify_step,
            self._served,
            work=self._work,
            changed=self._changed,
            limit=self._scrub_limit if running.scrub else 0,
        )
        await run.run(lambda: self._core.verification.running is running)
        if running.complete:
            self._record = VerifyRecord(
                self._core.standing.replica_id, time.time(), self.verified.checkpoint
            )
            write = _log.debug if running.scrub else _log.info
            write(
                "verify complete",
                group=self._core.group,
                scrub=running.scrub,
                compared_bytes=running.comparison.total_bytes,
                differing_bytes=running.comparison.differing_bytes,
            )
        self._changed.fire()

    async def verify(self, number: int, timeout: float) -> VerifyPass:
        """Starts a pass, or waits for one; returns when it ended, or in `timeout`.

        Args:
            number: the pass to wait for; 0: a new one.
            timeout: seconds.

        Raises:
            Refused: not replicating, or there is no such pass any more.
        """
        asked = (
            self._core.verification.current
            if number
            else self._core.start_verify(scrub=False)
        )
        if asked is None or (number and asked.number != number):
            raise Refused(
                Reason.WRONG_STATE,
                f"group {self._core.group}: verify pass {number} is not known any more;"
                " start a new one",
            )
        self._changed.fire()
        await self._changed.until(lambda: asked.ended, timeout)
        return asked
