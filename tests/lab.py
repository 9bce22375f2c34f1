"""Certificates for tests: a CA, and what goes wrong with certificates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import grpc

from blkcolo.security import lab_authority
from blkcolo.security.authorization import PeerRole

if TYPE_CHECKING:
    from pathlib import Path

HOSTS = ("localhost", "127.0.0.1")
DAY = timedelta(days=1)


class Lab:
    """One CA and a folder with a pair for whoever asks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.authority = lab_authority.new_authority(lab_authority.new_key())
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(self.authority.pem)

    def cert(self, name: str) -> Path:
        return self.folder / f"{name}.pem"

    def key(self, name: str) -> Path:
        return self.folder / f"{name}-key.pem"

    def issue(
        self,
        name: str,
        role: PeerRole | None = None,
        *,
        lifetime: timedelta = DAY,
        start: datetime | None = None,
        hosts: tuple[str, ...] = HOSTS,
    ) -> None:
        """Writes a pair; a name that was issued before is renewed with a new key."""
        key = lab_authority.new_key()
        pem = lab_authority.issue(
            self.authority,
            key.public_key(),
            role or PeerRole(name),
            hosts,
            lifetime=lifetime,
            start=start,
        )
        for path, content in (
            (self.key(name), lab_authority.key_pem(key)),
            (self.cert(name), pem),
        ):
            fresh = path.with_suffix(".new")
            fresh.write_bytes(content)
            fresh.replace(path)

    def issue_expired(self, name: str, role: PeerRole) -> None:
        start = datetime.now(UTC) - 2 * DAY
        self.issue(name, role, start=start, lifetime=DAY)

    def options(self, name: str) -> str:
        """The `[tls]` of a service."""
        return (
            f'tls.ca = "{self.ca}"\ntls.cert = "{self.cert(name)}"\n'
            f'tls.key = "{self.key(name)}"\n'
        )

    def channel(self, address: str, name: str) -> grpc.Channel:
        return grpc.secure_channel(
            address, grpc.ssl_channel_credentials(*self.pem(name))
        )

    def curl(self, name: str) -> tuple[str, ...]:
        """What grpcurl is told."""
        return (
            *("-cacert", str(self.ca), "-cert", str(self.cert(name))),
            *("-key", str(self.key(name))),
        )

    def pem(self, name: str) -> tuple[bytes, bytes, bytes]:
        """CA, key and certificate, as gRPC takes them."""
        return (
            self.ca.read_bytes(),
            self.key(name).read_bytes(),
            self.cert(name).read_bytes(),
        )

    def client_folder(self, name: str) -> Path:
        """A folder with the names that qemu and libnbd look for."""
        folder = self.folder / f"client-{name}"
        folder.mkdir(exist_ok=True)
        for target, source in (
            ("ca-cert.pem", self.ca),
            ("client-cert.pem", self.cert(name)),
            ("client-key.pem", self.key(name)),
        ):
            (folder / target).write_bytes(source.read_bytes())
        return folder
