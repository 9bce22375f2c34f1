"""A small certificate authority for labs and tests: one CA, certificates by role.

Keys are ECDSA P-256. Where a real PKI is at hand, use that instead: all that blkcolo
asks of a certificate is the role's URI, and on services the host's name or address,
among the subject alternative names.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from blkcolo.security.authorization import PeerRole

if TYPE_CHECKING:
    from collections.abc import Collection

    from cryptography.hazmat.primitives.asymmetric.types import (
        CertificateIssuerPrivateKeyTypes,
    )

CA_DAYS = 3650
#: Clocks may differ by so much.
_SKEW = timedelta(hours=1)
#: Roles whose holders listen, too.
SERVING = frozenset({PeerRole.NODE, PeerRole.COORDINATOR})


class Authority(NamedTuple):
    """A CA that can sign."""

    certificate: x509.Certificate
    key: CertificateIssuerPrivateKeyTypes

    @property
    def pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)


def new_key() -> ec.EllipticCurvePrivateKey:
    """Makes a key."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A key as PEM without a passphrase."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def new_authority(key: ec.EllipticCurvePrivateKey) -> Authority:
    """Makes a CA that signs itself."""
    name = _name("blkcolo lab CA")
    builder = (
        _builder(name, key.public_key(), datetime.now(UTC), timedelta(days=CA_DAYS))
        .issuer_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
    )
    return Authority(builder.sign(key, hashes.SHA256()), key)


def issue(
    authority: Authority,
    public_key: ec.EllipticCurvePublicKey,
    role: PeerRole,
    hosts: Collection[str],
    *,
    lifetime: timedelta,
    start: datetime | None = None,
) -> bytes:
    """Signs a certificate of one role; returns it as PEM.

    Args:
        authority: who signs.
        public_key: the holder's.
        role: becomes a URI among the alternative names.
        hosts: names and addresses that the holder listens on; of serving roles.
        lifetime: from `start` on.
        start: by default now.
    """
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(role.uri)]
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if role in SERVING:
        names += [_host(host) for host in hosts]
        usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
    issuer = authority.certificate
    builder = (
        _builder(
            _name(f"blkcolo {role.value}"),
            public_key,
            start or datetime.now(UTC),
            lifetime,
        )
        .issuer_name(issuer.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
    )
    signed = builder.sign(authority.key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _builder(
    subject: x509.Name,
    key: ec.EllipticCurvePublicKey,
    start: datetime,
    lifetime: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - _SKEW)
        .not_valid_after(start + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )
