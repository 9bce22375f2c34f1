"""Several calls in one RPC: each answered as if it had come alone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

from blkcolo.errors import Invalid, Reason
from blkcolo.rpc.errors import call_error, expected
from blkcolo.v1 import node_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from blkcolo.rpc.context import Context
    from blkcolo_primary.servicer import PrimaryServicer
    from blkcolo_secondary.servicer import SecondaryServicer

    Method = Callable[[Any, Context], Awaitable[Any]]

#: So many calls may come at once.
MOST_CALLS = 1024
#: A message takes no further answer above this: a status may be long.
_MESSAGE_BYTES = 1 << 20
_UNKNOWN = Invalid(
    Reason.INVALID, "this version does not know the call; run the same everywhere"
)


class OneOfMany(NamedTuple):
    """A method that may be called together with others, and its full name."""

    name: str
    call: Method


def methods_of(
    primary: PrimaryServicer, secondary: SecondaryServicer
) -> dict[str, OneOfMany]:
    """What may be called for several groups at once, by its field in GroupCall."""
    named: dict[str, tuple[str, Method]] = {
        "primary_status": ("PrimaryService/GetStatus", primary.GetStatus),
        "primary_prepare": (
            "PrimaryService/PrepareCheckpoint",
            primary.PrepareCheckpoint,
        ),
        "primary_do": ("PrimaryService/DoCheckpoint", primary.DoCheckpoint),
        "secondary_status": ("SecondaryService/GetStatus", secondary.GetStatus),
        "secondary_prepare": (
            "SecondaryService/PrepareCheckpoint",
            secondary.PrepareCheckpoint,
        ),
        "secondary_do": ("SecondaryService/DoCheckpoint", secondary.DoCheckpoint),
    }
    return {
        field: OneOfMany(f"/blkcolo.v1.{name}", call)
        for field, (name, call) in named.items()
    }


class ManyCalls:
    """Carries the calls of one RPC out side by side."""

    def __init__(
        self,
        methods: Mapping[str, OneOfMany],
        on_error: Callable[[str, Reason], None],
    ) -> None:
        """Takes the methods by their fields in GroupCall.

        Args:
            methods: they need no more of their context than the time that is left.
            on_error: counts errors by method and reason.
        """
        self._methods = methods
        self._on_error = on_error

    async def answers(
        self, request: pb.CallManyRequest, context: Context
    ) -> AsyncIterator[pb.CallManyResponse]:
        """Yields each answer when it is there, with those that are there as well.

        Raises:
            Invalid: there are none, or too many; none is made.
        """
        count = len(request.calls)
        if not 0 < count <= MOST_CALLS:
            most = f"{MOST_CALLS} at once at most" if count else "at least one"
            text = f"{count} calls; make {most}"
            raise Invalid(Reason.INVALID, text)
        answered: asyncio.Queue[pb.GroupAnswer] = asyncio.Queue()

        async def carry_out(place: int, call: pb.GroupCall) -> None:
            answered.put_nowait(await self._answer(place, call, context))

        calls = [
            asyncio.create_task(carry_out(place, call), name=f"call {place} of many")
            for place, call in enumerate(request.calls)
        ]
        try:
            left = len(calls)
            while left:
                some = [await answered.get()]
                size = some[0].ByteSize()
                while size < _MESSAGE_BYTES and not answered.empty():
                    some.append(answered.get_nowait())
                    size += some[-1].ByteSize()
                left -= len(some)
                yield pb.CallManyResponse(answers=some)
        finally:  # the caller may be gone, or its deadline may have passed
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

    async def _answer(
        self, place: int, call: pb.GroupCall, context: Context
    ) -> pb.GroupAnswer:
        field = call.WhichOneof("call") or ""
        answer = pb.GroupAnswer(place=place)
        method = self._methods.get(field)
        if method is None:
            answer.error.CopyFrom(call_error(_UNKNOWN))
            return answer
        try:
            given = await method.call(getattr(call, field), context)
        except Exception as error:  # noqa: BLE001 - the border to the wire
            told = expected(error, method.name)
            self._on_error(method.name, told.reason)
            answer.error.CopyFrom(call_error(told))
        else:
            getattr(answer, field).CopyFrom(given)
        return answer
