"""Waits until a group is to be looked at, and has what its two sides said by then.

Both sides hold their answers back until there is something to do (see
`core.watch_plan`). Whichever has that first ends the wait: the other is asked plainly
then. Where both answer because the time is over, that is the look.

A node of an older version answers a watch at once, as it is. Its group is looked at in
every interval then; only while the group is quiet can its primary be waited for.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from blkcolo.errors import BlkcoloError, DeadlineMissed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blkcolo.v1.primary_pb2 import ForwardStatus, PrimaryServiceGetStatusResponse
    from blkcolo.v1.secondary_pb2 import (
        ReplicaStatus,
        SecondaryServiceGetStatusResponse,
    )
    from blkcolo.wakeup import Wakeup
    from blkcolo_coordinator.core.watch_plan import WatchPlan
    from blkcolo_coordinator.peers.pair import Pair

    Told = PrimaryServiceGetStatusResponse | SecondaryServiceGetStatusResponse
    Asked = (
        asyncio.Future[PrimaryServiceGetStatusResponse]
        | asyncio.Future[SecondaryServiceGetStatusResponse]
    )

#: A node of an older version is not asked to wait for so long, in seconds.
_PLAIN_SECONDS = 60.0


class Answers(NamedTuple):
    """What both sides said; None of one that is to be asked.

    Attributes:
        primary: what the primary said.
        secondary: what the secondary said.
        at: when the first of them did, in seconds on a clock that never jumps.
    """

    primary: ForwardStatus | BlkcoloError | None = None
    secondary: ReplicaStatus | BlkcoloError | None = None
    at: float | None = None


#: Both are to be asked.
NONE = Answers()


class GroupWatch:
    """Watches one group."""

    def __init__(self, pair: Pair, wake: Wakeup) -> None:
        """Takes both sides.

        Args:
            pair: both sides.
            wake: fires when somebody wants something of the group; fired here as well,
                when the sides have answered.
        """
        self._pair = pair
        self._wake = wake
        self._plain_until = 0.0

    def can(self, plan: WatchPlan) -> bool:
        """False where a node of an older version cannot wait for this."""
        return plan.written or not self._plain

    @property
    def _plain(self) -> bool:
        return asyncio.get_running_loop().time() < self._plain_until

    async def answers(self, plan: WatchPlan, seconds: float) -> Answers:
        """Waits for what is planned, `seconds` at most, or until `wake` fires."""
        asked: list[Asked] = [self._pair.primary.watch(plan, seconds)]
        if not self._plain:
            asked.append(self._pair.secondary.watch(plan, seconds))
        heard: list[float] = []

        def on_answer(_: object) -> None:
            heard.append(time.monotonic())
            if _ends(asked):
                self._wake.fire()

        for each in asked:
            each.add_done_callback(on_answer)
        try:
            await self._wake.wait()
            if not heard or not _ends(asked):  # somebody else fired it
                return NONE
            return self._take(asked, heard[0])
        finally:
            for each in asked:
                each.remove_done_callback(on_answer)
                each.cancel()  # one that is not answered ends with the next look

    def _take(self, asked: Sequence[Asked], at: float) -> Answers:
        told = [each.result() for each in asked if _answered(each)]
        if not all(each.HasField("due") for each in told):
            now = asyncio.get_running_loop().time()
            self._plain_until = now + _PLAIN_SECONDS
        return Answers(*map(_status, asked))._replace(at=at)


def _ends(asked: Sequence[Asked]) -> bool:
    """True if all have answered, or one with something to act on."""
    return all(each.done() for each in asked) or any(
        each.done() and not (_answered(each) and _over(each.result())) for each in asked
    )


def _answered(each: Asked) -> bool:
    return each.done() and each.exception() is None


def _over(told: Told) -> bool:
    """True if the time was over, and nothing else."""
    return told.HasField("due") and not told.due


def _status(each: asyncio.Future[Any]) -> Any:  # noqa: ANN401 - of either side
    """None where a look must find out: of what failed, all but silence."""
    if not each.done():
        return None
    error = each.exception()
    if error is None:
        return each.result().groups[0]
    return error if isinstance(error, DeadlineMissed) else None
