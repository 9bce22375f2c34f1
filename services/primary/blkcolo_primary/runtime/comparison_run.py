"""Drives one comparison at the pace that the VM allows, and measures it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from blkcolo.errors import from_os_error
from blkcolo_primary.core.pacer import Pacer

if TYPE_CHECKING:
    from collections.abc import Callable

    from blkcolo.wakeup import Wakeup
    from blkcolo_primary.core.comparison import Comparison

#: The longest that a run sleeps before it looks at the VM again, in seconds.
_LOOK_SECONDS = 0.05
#: How often the rate is measured, and how much the newest measurement counts.
_RATE_SECONDS, _RATE_WEIGHT = 0.5, 0.3


class ComparisonRun:
    """One comparison at run time."""

    def __init__(
        self,
        comparison: Comparison,
        step: Callable[[], bool],
        served: Callable[[], int],
        *,
        work: Wakeup,
        changed: Wakeup,
        limit: int = 0,
    ) -> None:
        """Takes what it drives; `run` begins.

        Args:
            comparison: the comparison.
            step: goes on with it; False if the secondary must answer first.
            served: what the VM was given since the service started, in bytes.
            work: to be fired when there is something to send.
            changed: fires when the secondary has answered.
            limit: bytes a second that are never exceeded; 0: none.
        """
        self._comparison = comparison
        self._step = step
        self._served = served
        self._work = work
        self._changed = changed
        self._limit = limit
        self._measured = (0.0, 0)
        #: Bytes a second that are compared; 0 until it is known.
        self.rate = 0.0

    @property
    def eta_seconds(self) -> float | None:
        """Seconds until it is complete at this rate; None if that is not known."""
        left = self._comparison.total_bytes - self._comparison.done_bytes
        return left / self.rate if self.rate else None

    async def run(self, active: Callable[[], bool]) -> None:
        """Steps as long as it is active.

        Raises:
            BlkcoloError: a disk, or the intent log, refused.
        """
        loop = asyncio.get_running_loop()
        pacer = Pacer(loop.time(), self._served(), self._limit)
        self._measured = loop.time(), self._comparison.done_bytes
        while active():
            delay = pacer.delay(loop.time(), self._served())
            if delay:
                await asyncio.sleep(min(delay, _LOOK_SECONDS))
                continue
            before = self._comparison.read_bytes
            if not self._do_step():
                await self._changed.wait()
                continue
            pacer.spent(loop.time(), self._comparison.read_bytes - before)
            self._measure(loop.time())
            self._work.fire()
            await asyncio.sleep(0)

    def _do_step(self) -> bool:
        try:
            return self._step()
        except OSError as error:
            raise from_os_error(error, "comparing the disks") from error

    def _measure(self, now: float) -> None:
        at, done = self._measured
        if now - at < _RATE_SECONDS:
            return
        rate = (self._comparison.done_bytes - done) / (now - at)
        weight = _RATE_WEIGHT if self.rate else 1.0
        self.rate += (rate - self.rate) * weight
        self._measured = now, self._comparison.done_bytes
