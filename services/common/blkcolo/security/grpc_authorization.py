"""The table of `authorization` in front of every RPC of a server with mutual TLS."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, cast

import grpc
import structlog
from grpc_status import rpc_status

from blkcolo.errors import Reason, Refused
from blkcolo.grpc_errors import status_of
from blkcolo.security.authorization import allowed, names, roles_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from blkcolo.security.authorization import PeerRole

    _Context = grpc.aio.ServicerContext[Any, Any]
    _Handler = grpc.RpcMethodHandler[Any, Any]

_log = structlog.get_logger(__name__)

_URI = "peer_uri"
_COMMON_NAME = "x509_common_name"


class Authorization(grpc.aio.ServerInterceptor):
    """Answers PERMISSION_DENIED to callers whose certificate may not call a method."""

    def __init__(self, on_denied: Callable[[str, frozenset[PeerRole]], None]) -> None:
        """Takes what counts refusals by method and roles."""
        self._on_denied = on_denied

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler | None:
        """Wraps the handler that was found, of whatever service."""
        handler = cast("Any", await continuation(handler_call_details))
        if handler is None:
            return None
        kind = _kind(handler)
        wrapped = self._wrap(handler_call_details.method, getattr(handler, kind))
        make = getattr(grpc, f"{kind}_rpc_method_handler")
        outer: _Handler = make(
            wrapped,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )
        return outer

    def _wrap(self, method: str, inner: Any) -> Any:
        if inspect.isasyncgenfunction(inner):

            async def stream(request: Any, context: _Context) -> AsyncIterator[Any]:
                await self._check(method, context)
                async for answer in inner(request, context):
                    yield answer

            return stream

        async def call(request: Any, context: _Context) -> Any:
            await self._check(method, context)
            return await inner(request, context)

        return call

    async def _check(self, method: str, context: _Context) -> None:
        peer = context.auth_context()
        roles = roles_of(uri.decode(errors="replace") for uri in peer.get(_URI, ()))
        if roles & allowed(method):
            return
        holder = b" ".join(peer.get(_COMMON_NAME, ())).decode(errors="replace")
        self._on_denied(method, roles)
        _log.warning(
            "call denied",
            method=method,
            roles=names(roles),
            certificate=holder,
            peer=context.peer(),
        )
        refusal = Refused(
            Reason.NOT_PERMITTED,
            f"{method} is for the roles: {names(allowed(method))}; the certificate of"
            f" {holder!r} has: {names(roles)}; call with another certificate",
        )
        status = rpc_status.to_status(status_of(refusal))
        await context.abort(status.code, status.details, status.trailing_metadata)


def _kind(handler: Any) -> str:
    kinds = {
        (False, False): "unary_unary",
        (False, True): "unary_stream",
        (True, False): "stream_unary",
        (True, True): "stream_stream",
    }
    return kinds[handler.request_streaming, handler.response_streaming]
