"""A service's certificate, its key and the CA: read from PEM, checked as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from blkcolo.errors import Invalid, Reason
from blkcolo.security.authorization import PeerRole, roles_of

if TYPE_CHECKING:
    from datetime import datetime

_RENEW = "renew it (`blkcolo certs renew` in a lab)"


@dataclass(frozen=True)
class Certificates:
    """PEM as read, and what the checks learned from it."""

    ca: bytes
    cert: bytes
    key: bytes
    roles: frozenset[PeerRole]
    #: Unix seconds.
    cert_expires: float
    ca_expires: float


class PemError(Invalid):
    """One of the three files cannot be used; `part` is its key: ca, cert or key."""

    def __init__(self, part: str, why: str) -> None:
        """Takes what is wrong, and what to do."""
        super().__init__(Reason.INVALID, why)
        self.part = part


def check(ca: bytes, cert: bytes, key: bytes, now: datetime) -> Certificates:
    """Parses and checks that the three belong together and hold today.

    Raises:
        PemError: they do not.
    """
    authorities = _load("ca", ca)
    chain = _load("cert", cert)
    own = chain[0]
    _check_key(own, key)
    _check_time("cert", own, now)
    issuers = [one for one in authorities if one.subject == chain[-1].issuer]
    if not any(_signed(chain[-1], one) for one in issuers):
        raise PemError("cert", "is not signed by tls.ca; give the CA that signed it")
    issuer = issuers[0]
    _check_time("ca", issuer, now)
    return Certificates(
        ca,
        cert,
        key,
        roles_of(uris(own)),
        own.not_valid_after_utc.timestamp(),
        issuer.not_valid_after_utc.timestamp(),
    )


def uris(certificate: x509.Certificate) -> list[str]:
    """The URIs among the subject alternative names."""
    try:
        names = certificate.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        ).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def _load(part: str, pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise PemError(part, "holds no PEM certificate; give a PEM file") from error


def _check_key(own: x509.Certificate, pem: bytes) -> None:
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise PemError(
            "key", "holds no PEM private key without a passphrase; give one"
        ) from error
    if key.public_key() != own.public_key():
        raise PemError("key", "does not belong to tls.cert; give the two of one pair")


def _check_time(part: str, certificate: x509.Certificate, now: datetime) -> None:
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now > end:
        raise PemError(part, f"expired on {end:%Y-%m-%d %H:%M} UTC; {_RENEW}")
    if now < start:
        raise PemError(
            part, f"is not valid before {start:%Y-%m-%d %H:%M} UTC; check the clock"
        )


def _signed(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
