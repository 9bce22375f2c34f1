"""What interceptors share: something that stands around every call of a method.

It is the same for all four kinds of RPC. A handler that streams its answers is an
async generator; one of another make writes them by itself, and its answers are not
seen here.
"""

from __future__ import annotations

import abc
import inspect
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, cast

import grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from blkcolo.rpc.context import Context

    Handler = grpc.RpcMethodHandler[Any, Any]


class Wrapper:
    """Stands around the calls of one method; by itself it changes nothing."""

    def decoder(self, decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
        """What makes requests out of bytes, given what would."""
        return decode

    def around(self, context: Context) -> AbstractAsyncContextManager[None]:
        """Entered before the call, left behind its end, however it ends."""
        del context
        return nullcontext()

    def incoming(self, request: Any) -> Any:
        """The request, or the stream of them, as the handler is to see it."""
        return request

    def answered(self) -> None:
        """The handler gave an answer."""


class WrappingInterceptor(grpc.aio.ServerInterceptor, abc.ABC):
    """Puts a wrapper around every call of the methods that have one."""

    @abc.abstractmethod
    def wrapper_of(self, method: str) -> Wrapper | None:
        """What stands around the calls of a method; None: nothing does."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Wraps the handler that was found."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        wrapper = self.wrapper_of(handler_call_details.method)
        return handler if wrapper is None else _wrapped(handler, wrapper)


def _wrapped(handler: Any, wrapper: Wrapper) -> Handler:
    kind = (
        f"{'stream' if handler.request_streaming else 'unary'}"
        f"_{'stream' if handler.response_streaming else 'unary'}"
    )
    inner = getattr(handler, kind)
    wrap = _streaming if inspect.isasyncgenfunction(inner) else _single
    make = getattr(grpc, f"{kind}_rpc_method_handler")
    outer = make(
        wrap(inner, wrapper),
        request_deserializer=wrapper.decoder(handler.request_deserializer),
        response_serializer=handler.response_serializer,
    )
    return cast("Handler", outer)


def _single(inner: Any, wrapper: Wrapper) -> Any:
    async def call(request: Any, context: Context) -> Any:
        async with wrapper.around(context):
            answer = await inner(wrapper.incoming(request), context)
            wrapper.answered()
            return answer

    return call


def _streaming(inner: Any, wrapper: Wrapper) -> Any:
    async def call(request: Any, context: Context) -> AsyncIterator[Any]:
        async with wrapper.around(context):
            async for answer in inner(wrapper.incoming(request), context):
                wrapper.answered()
                yield answer

    return call
