"""What gRPC tells a call of its caller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import grpc

    #: What gRPC hands to every call.
    Context = grpc.aio.ServicerContext[Any, Any]

#: An answer comes this long before its caller stops waiting, in seconds.
_ANSWER_MARGIN = 0.2
#: What a caller without a deadline gets, in seconds.
_DEFAULT_DEADLINE = 10.0


def time_left(context: Context) -> float:
    """Seconds in which an answer still reaches the caller."""
    remaining = context.time_remaining() or _DEFAULT_DEADLINE
    return max(remaining - _ANSWER_MARGIN, remaining / 2)
