"""The table of `authorization` in front of every RPC of a server with mutual TLS."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from blkcolo.errors import Reason, Refused
from blkcolo.rpc.errors import abort
from blkcolo.rpc.wrapping import Wrapper, WrappingInterceptor
from blkcolo.security.authorization import allowed, names, roles_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from blkcolo.rpc.context import Context
    from blkcolo.security.authorization import PeerRole

_log = structlog.get_logger(__name__)

_URI = "peer_uri"
_COMMON_NAME = "x509_common_name"


class Authorization(WrappingInterceptor):
    """Answers PERMISSION_DENIED to callers whose certificate may not call a method."""

    def __init__(self, on_denied: Callable[[str, frozenset[PeerRole]], None]) -> None:
        """Takes what counts refusals by method and roles."""
        self._on_denied = on_denied

    def wrapper_of(self, method: str) -> Wrapper | None:
        """One for every method, of whatever service."""
        return _Guard(method, self._on_denied)


class _Guard(Wrapper):
    """Stands in front of one method."""

    def __init__(
        self, method: str, on_denied: Callable[[str, frozenset[PeerRole]], None]
    ) -> None:
        self._method = method
        self._on_denied = on_denied

    @asynccontextmanager
    async def around(self, context: Context) -> AsyncIterator[None]:
        await self._check(context)
        yield

    async def _check(self, context: Context) -> None:
        method, peer = self._method, context.auth_context()
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
        await abort(context, refusal)
