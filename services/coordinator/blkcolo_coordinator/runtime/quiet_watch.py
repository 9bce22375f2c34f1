"""What a coordinator does while a group is quiet: the primary says when it is no more.

Looking at both sides costs all three services CPU, times the number of groups. So a
group that is as its last checkpoint says is looked at seldom. In between one call waits
on the primary, which answers at once when the VM writes or the stream is lost: no
trigger is seen later for it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from blkcolo.errors import BlkcoloError

if TYPE_CHECKING:
    from collections.abc import Callable

    from blkcolo.v1.primary_pb2 import ForwardStatus
    from blkcolo.wakeup import Wakeup
    from blkcolo_coordinator.peers.grpc_peers import PrimaryPeer

#: A quiet group's two sides are looked at this often, in seconds.
_LOOK_SECONDS = 4.0
#: The primary answers at least this often that nothing was written, in seconds: the
#: recovery point of a quiet group is never older.
_ANSWER_SECONDS = 2.0


async def rest(
    primary: PrimaryPeer,
    wake: Wakeup,
    still_quiet: Callable[[ForwardStatus], bool],
    answer_in: float | None,
) -> None:
    """Returns when the group is to be looked at.

    Args:
        primary: its primary.
        wake: fires when somebody wants something of the group.
        still_quiet: takes an answer in; False if there is something to do.
        answer_in: seconds until the next answer is wanted; None: no matter.
    """
    seconds = _ANSWER_SECONDS if answer_in is None else min(answer_in, _ANSWER_SECONDS)

    async def watch() -> None:
        with suppress(BlkcoloError):  # the look will say what is wrong
            while still_quiet(await primary.rest(seconds)):
                pass
        wake.fire()

    watching = asyncio.create_task(watch(), name="watch a quiet group")
    try:
        await wake.wait(_LOOK_SECONDS)
    finally:
        watching.cancel()
        await asyncio.wait([watching])
