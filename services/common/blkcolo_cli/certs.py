"""`blkcolo certs`: a CA and role certificates for a lab, and a look at any."""

from __future__ import annotations

import json as json_format
import os
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path  # noqa: TC003 - the command line reads it
from typing import TYPE_CHECKING, Annotated, Any, cast

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from blkcolo.errors import Invalid, Reason, Refused
from blkcolo.security import lab_authority
from blkcolo.security.authorization import PeerRole, roles_of
from blkcolo.security.certificates import uris

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

EXIT_EXPIRED = 1

certs = App(name="certs", help="Make and show certificates.")

Days = Annotated[int, Parameter(help="How long the role certificates hold.")]
_PLACES = {
    PeerRole.NODE: "the hosts of primary and secondary, [tls] of their configuration",
    PeerRole.COORDINATOR: "the coordinator's host, [tls] of its configuration",
    PeerRole.OPERATOR: "people who may fail over: BLKCOLO_TLS_CA, _CERT and _KEY",
    PeerRole.OBSERVER: "probes, Prometheus and people who only look",
    PeerRole.NBD: "hypervisors; the names are those that qemu and libnbd look for",
}


def _files(folder: Path, role: PeerRole) -> tuple[Path, Path, Path]:
    """Where a role's CA, certificate and key are."""
    prefix = "client-" if role is PeerRole.NBD else ""
    own = folder / role.value
    return own / "ca-cert.pem", own / f"{prefix}cert.pem", own / f"{prefix}key.pem"


@certs.command
def init(
    folder: Path,
    *,
    hosts: Annotated[
        list[str] | None,
        Parameter(
            negative="",
            consume_multiple=True,
            help="Names and addresses of the machines; loopback is always added.",
        ),
    ] = None,
    days: Days = 365,
) -> None:
    """Make a CA and a certificate for each role, for a lab."""
    if folder.exists() and any(folder.iterdir()):
        raise Refused(
            Reason.WRONG_STATE,
            f"{folder} is not empty; name a new folder, or `blkcolo certs renew` it",
        )
    listed = [name for text in hosts or [] for name in text.split(",") if name]
    served = list(dict.fromkeys([*listed, "localhost", "127.0.0.1", "::1"]))
    key = lab_authority.new_key()
    authority = lab_authority.new_authority(key)
    _write(folder / "ca-key.pem", lab_authority.key_pem(key))
    _write(folder / "ca-cert.pem", authority.pem)
    for role in PeerRole:
        own = lab_authority.new_key()
        pem = lab_authority.issue(
            authority, own.public_key(), role, served, lifetime=timedelta(days=days)
        )
        for path, content in zip(
            _files(folder, role),
            (authority.pem, pem, lab_authority.key_pem(own)),
            strict=True,
        ):
            _write(path, content)
    _say(f"certificates of {folder} hold for {days} days, on: {', '.join(served)}")
    for role, place in _PLACES.items():
        _say(f"  {folder / role.value}/  {place}")
    _say(f"  {folder / 'ca-key.pem'}  nowhere: keep it offline, for `certs renew`")


@certs.command
def renew(folder: Path, *, days: Days = 365) -> None:
    """Sign every role's certificate of a lab anew, with the same keys and hosts.

    Copy the certificates to their hosts; services read them without a restart.
    """
    authority = lab_authority.Authority(
        _certificate(folder / "ca-cert.pem"), _private_key(folder / "ca-key.pem")
    )
    for role in PeerRole:
        _, path, key = _files(folder, role)
        public = _private_key(key).public_key()
        pem = lab_authority.issue(
            authority,
            public,
            role,
            _hosts(_certificate(path)),
            lifetime=timedelta(days=days),
        )
        _write(path, pem)
        _say(f"{path} holds for {days} days")


@certs.command
def show(
    *paths: Path,
    json: Annotated[
        bool, Parameter(name="--json", negative="", help="Print JSON.")
    ] = False,
) -> int:
    """Show roles, hosts and expiry of PEM files. Exit code 1 if one is expired."""
    found = [
        path
        for given in paths
        for path in (sorted(given.rglob("*cert.pem")) if given.is_dir() else [given])
    ]
    if not found:
        raise Invalid(Reason.INVALID, "name a PEM file, or a folder with *cert.pem")
    rows = [_describe(path) for path in found]
    if json:
        print(json_format.dumps(rows, indent=2))  # noqa: T201 - the command's output
    else:
        _print_rows(rows)
    return EXIT_EXPIRED if any(row["expired"] for row in rows) else 0


def _describe(path: Path) -> dict[str, Any]:
    certificate = _certificate(path)
    end = certificate.not_valid_after_utc
    return {
        "file": str(path),
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "roles": sorted(role.value for role in roles_of(uris(certificate))),
        "hosts": _hosts(certificate),
        "expires": end.isoformat(timespec="seconds"),
        "expired": end < datetime.now(UTC),
    }


def _print_rows(rows: list[dict[str, Any]]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        for row in rows:
            roles, hosts = ",".join(row["roles"]), ",".join(row["hosts"])
            state = "EXPIRED" if row["expired"] else "expires"
            console.print(
                f"{row['file']} roles={roles or '-'} hosts={hosts or '-'}"
                f" {state} {row['expires']} issuer={row['issuer']}",
                markup=False,
            )
        return
    table = Table("file", "roles", "hosts", "expires", "issuer")
    for row in rows:
        table.add_row(
            row["file"],
            ", ".join(row["roles"]),
            ", ".join(row["hosts"]),
            f"[bold red]{row['expires']}[/]" if row["expired"] else row["expires"],
            row["issuer"],
        )
    console.print(table)


def _hosts(certificate: x509.Certificate) -> list[str]:
    with suppress(x509.ExtensionNotFound):
        names_ = certificate.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        ).value
        return [
            *names_.get_values_for_type(x509.DNSName),
            *(str(ip) for ip in names_.get_values_for_type(x509.IPAddress)),
        ]
    return []


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Invalid(
            Reason.INVALID, f"{path}: {error.strerror}; name a readable PEM file"
        ) from error


def _certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(_read(path))
    except ValueError as error:
        raise Invalid(
            Reason.INVALID, f"{path} holds no PEM certificate; name one that does"
        ) from error


def _private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(_read(path), None)
    except (ValueError, TypeError) as error:
        raise Invalid(
            Reason.INVALID, f"{path} holds no PEM key; `blkcolo certs init` makes one"
        ) from error
    return cast("ec.EllipticCurvePrivateKey", key)


def _write(path: Path, content: bytes) -> None:
    """Writes a file for its owner only; replaces one in a single step."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def _say(text: str) -> None:
    Console(highlight=False, soft_wrap=True).print(text, markup=False)
