"""TLS of the NBD server: the context that STARTTLS upgrades to, and who may attach."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import structlog

from blkcolo.security.authorization import NBD_ROLES, names, roles_of
from blkcolo.security.ssl_contexts import ServerContexts

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from blkcolo.security.authorization import PeerRole
    from blkcolo.security.certificate_files import CertificateFiles

_log = structlog.get_logger(__name__)


class NbdTls:
    """Mandatory TLS; one for all connections of a server."""

    def __init__(
        self,
        files: CertificateFiles,
        on_denied: Callable[[str, frozenset[PeerRole]], None],
        *,
        verify_client: bool,
    ) -> None:
        """Takes the certificates, and whether a client must show one of its own."""
        self._contexts = ServerContexts(files, verify_client=verify_client)
        self._on_denied = on_denied
        self._verify_client = verify_client

    async def upgrade(
        self, transport: asyncio.Transport, protocol: asyncio.BaseProtocol
    ) -> asyncio.Transport:
        """Shakes hands; returns the transport that encrypts.

        Raises:
            OSError: the client failed (ssl.SSLError), or is gone.
        """
        upgraded = await asyncio.get_running_loop().start_tls(
            transport, protocol, self._contexts.current, server_side=True
        )
        if upgraded is None:
            raise ConnectionResetError
        return upgraded

    def refusal(self, transport: asyncio.Transport) -> str:
        """Why the client behind an encrypted transport may not attach; "" if it may."""
        if not self._verify_client:
            return ""
        secured: ssl.SSLObject = transport.get_extra_info("ssl_object")
        shown = cast("dict[str, Any]", secured.getpeercert() or {})
        alternatives = shown.get("subjectAltName", ())
        roles = roles_of(name for kind, name in alternatives if kind == "URI")
        if roles & NBD_ROLES:
            return ""
        self._on_denied("nbd", roles)
        _log.warning("NBD client denied", roles=names(roles))
        return (
            f"NBD is for the roles: {names(NBD_ROLES)}; this certificate has:"
            f" {names(roles)}"
        )
