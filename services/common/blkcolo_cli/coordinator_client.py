"""The coordinator as the command line calls it."""

from __future__ import annotations

import asyncio
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from blkcolo.errors import Invalid, Reason
from blkcolo.rpc.client import Dialer, call
from blkcolo.v1 import coordinator_pb2 as pb
from blkcolo.v1 import coordinator_pb2_grpc as rpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from blkcolo.addresses import Address
    from blkcolo_cli.where import Where

#: Seconds for a question.
ASK_SECONDS = 5.0
#: Seconds for what moves data: a failover, a stop.
MOVE_SECONDS = 130.0

T = TypeVar("T")


class Coordinator:
    """One coordinator; all methods raise BlkcoloError."""

    def __init__(self, stub: rpc.CoordinatorServiceAsyncStub, address: Address) -> None:
        """Takes a stub of an open channel."""
        self.stub = stub
        self.peer = f"coordinator {address}"

    async def list_groups(self) -> list[pb.Group]:
        """All groups, by name."""
        request = pb.ListGroupsRequest()
        answer = await call(self.stub.ListGroups, request, ASK_SECONDS, self.peer)
        return list(answer.groups)

    async def choose(self, name: str | None) -> str:
        """The named group, or the only one there is.

        Raises:
            Invalid: there is none, or a name is needed.
        """
        if name is not None:
            return name
        known = [group.spec.name for group in await self.list_groups()]
        if len(known) == 1:
            return known[0]
        raise Invalid(
            Reason.INVALID,
            f"name one of the groups: {', '.join(known) or 'there is none yet'}",
        )


@asynccontextmanager
async def connect(
    address: Address, dialer: Dialer | None = None
) -> AsyncIterator[Coordinator]:
    """Opens a channel to the coordinator."""
    async with (dialer or Dialer()).open(address) as channel:
        yield Coordinator(rpc.CoordinatorServiceStub(channel), address)


def run(where: Where, work: Callable[[Coordinator], Awaitable[T]]) -> T:
    """Runs `work` with a connected coordinator.

    Raises:
        SettingsError: the options that say where and how are wrong.
        KeyboardInterrupt: on Ctrl-C, after the channel was closed.
    """
    address, dialer = where.coordinator, where.dialer()

    async def connected() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        if task is not None:
            loop.add_signal_handler(signal.SIGINT, task.cancel)
        async with connect(address, dialer) as coordinator:
            return await work(coordinator)

    try:
        return asyncio.run(connected())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
