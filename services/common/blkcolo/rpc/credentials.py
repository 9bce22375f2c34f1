"""Mutual TLS for gRPC: what servers and channels are given."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

if TYPE_CHECKING:
    from blkcolo.security.certificate_files import CertificateFiles
    from blkcolo.security.certificates import Certificates


def server_credentials(files: CertificateFiles) -> grpc.ServerCredentials:
    """Asks for a client certificate; reads the files anew at each handshake."""
    given = files.current

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        nonlocal given
        found = files.current
        if found is given:
            return None  # go on with what was given
        given = found
        return _configuration(found)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(given),
        fetch,  # type: ignore[arg-type] # the stubs lack the documented None
        require_client_authentication=True,
    )


def _configuration(found: Certificates) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(found.key, found.cert)], found.ca
    )


def channel_credentials(files: CertificateFiles) -> grpc.ChannelCredentials:
    """What is in force now; a channel keeps it until it is opened anew."""
    found = files.current
    return grpc.ssl_channel_credentials(found.ca, found.key, found.cert)
