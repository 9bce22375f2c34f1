"""The `ssl` contexts of servers that are not gRPC's: NBD and the metrics endpoint."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from blkcolo.security.certificate_files import CertificateFiles
    from blkcolo.security.certificates import Certificates


class ServerContexts:
    """The context in force; asked for at each handshake, made when files changed."""

    def __init__(self, files: CertificateFiles, *, verify_client: bool) -> None:
        """Takes the certificates, and whether a client must show one of its own."""
        self._files = files
        self._verify_client = verify_client
        self._context: ssl.SSLContext | None = None
        self._made_of: Certificates | None = None

    @property
    def current(self) -> ssl.SSLContext:
        """A context of TLS 1.2 or newer.

        Raises:
            OSError: the files are being replaced at this very moment.
        """
        found = self._files.current
        if self._context is None or self._made_of is not found:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.load_cert_chain(self._files.paths.cert, self._files.paths.key)
            if self._verify_client:
                context.verify_mode = ssl.CERT_REQUIRED
                context.load_verify_locations(cadata=found.ca.decode())
            self._context, self._made_of = context, found
        return self._context
