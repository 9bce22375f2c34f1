"""Certificate files: what is wrong with them, renewal, and `blkcolo certs`."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import pytest

from blkcolo.errors import Invalid
from blkcolo.security.authorization import PeerRole
from blkcolo.security.certificate_files import CertificateFiles
from tests.lab import DAY, Lab
from tests.tools import run

if TYPE_CHECKING:
    from pathlib import Path


class Paths(NamedTuple):
    ca: Path
    cert: Path
    key: Path


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lab = Lab(tmp_path / "lab")
    lab.issue("node")
    return lab


def paths(lab: Lab) -> Paths:
    return Paths(lab.ca, lab.cert("node"), lab.key("node"))


def refusal(lab: Lab) -> str:
    with pytest.raises(Invalid) as caught:
        CertificateFiles(paths(lab))
    return str(caught.value)


def test_a_good_pair_says_its_roles_and_expiry(lab: Lab) -> None:
    found = CertificateFiles(paths(lab)).current
    assert found.roles == {PeerRole.NODE}
    left = found.cert_expires - datetime.now(UTC).timestamp()
    assert 0 < left <= DAY.total_seconds() < found.ca_expires


def test_each_fault_names_key_file_and_what_to_do(lab: Lab, tmp_path: Path) -> None:
    cert, key = lab.cert("node"), lab.key("node")
    good, good_key = cert.read_bytes(), key.read_bytes()

    cert.unlink()
    assert refusal(lab) == (
        f"tls.cert = '{cert}': No such file or directory;"
        " give a file that this user can read"
    )
    cert.write_bytes(good_key)
    assert "holds no PEM certificate" in refusal(lab)
    cert.write_bytes(good)
    key.write_bytes(good)
    assert refusal(lab).startswith(f"tls.key = '{key}': holds no PEM private key")
    lab.issue("other", PeerRole.NODE)
    key.write_bytes(lab.key("other").read_bytes())
    assert "does not belong to tls.cert" in refusal(lab)
    key.write_bytes(good_key)

    ours, theirs = lab.ca.read_bytes(), Lab(tmp_path / "theirs")
    lab.ca.write_bytes(theirs.ca.read_bytes())
    assert "is not signed by tls.ca" in refusal(lab)
    lab.ca.write_bytes(theirs.ca.read_bytes() + ours)  # a bundle: while CAs change
    CertificateFiles(paths(lab))

    lab.issue_expired("node", PeerRole.NODE)
    assert "expired on" in refusal(lab)
    assert "certs renew" in refusal(lab)
    lab.issue("node", start=datetime.now(UTC) + DAY)
    assert "not valid before" in refusal(lab)


def test_a_service_needs_its_role(lab: Lab) -> None:
    files = CertificateFiles(paths(lab))
    files.require_role(PeerRole.NODE)
    with pytest.raises(Invalid, match="blkcolo://role/coordinator"):
        files.require_role(PeerRole.COORDINATOR)


def test_a_change_is_seen_and_a_broken_one_leaves_the_old_in_force(lab: Lab) -> None:
    files = CertificateFiles(paths(lab))
    first = files.current
    assert files.current is first
    lab.issue("node")
    second = files.current
    assert second is not first
    lab.cert("node").write_text("half")
    assert files.current is second
    assert files.current is second
    assert files.failures == 1  # once a change, however often it is asked for
    lab.cert("node").unlink()
    assert files.current is second
    lab.issue("node")
    assert files.current.cert not in (first.cert, second.cert)
    assert files.failures == 2


def test_certs_init_makes_a_lab_that_openssl_accepts_and_refuses_to_overwrite(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "pki"
    said = run("blkcolo", "certs", "init", str(folder), "--hosts", "a.lab,10.0.0.1")
    for role in PeerRole:
        assert f"{folder / role.value}/" in said
    made = [path for path in folder.rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o600}
    leaves = [folder / "node/cert.pem", folder / "nbd/client-cert.pem"]
    verify = ("openssl", "verify", "-CAfile", str(folder / "ca-cert.pem"))
    run(*verify, "-purpose", "sslserver", "-verify_ip", "10.0.0.1", str(leaves[0]))
    run(*verify, "-purpose", "sslclient", str(leaves[1]))

    before = leaves[0].read_bytes()
    again = run("blkcolo", "certs", "init", str(folder), check=False)
    assert "is not empty" in again
    assert leaves[0].read_bytes() == before
    run("blkcolo", "certs", "renew", str(folder), "--days", "2")
    assert leaves[0].read_bytes() != before
    assert CertificateFiles(
        Paths(folder / "node/ca-cert.pem", leaves[0], folder / "node/key.pem")
    ).current.roles == {PeerRole.NODE}

    shown = json.loads(run("blkcolo", "certs", "show", str(folder), "--json"))
    node = next(row for row in shown if row["file"] == str(leaves[0]))
    assert node["roles"] == ["node"]
    assert node["hosts"] == ["a.lab", "localhost", "10.0.0.1", "127.0.0.1", "::1"]
    assert not node["expired"]


def test_certs_show_marks_what_is_expired(lab: Lab) -> None:
    lab.issue_expired("old", PeerRole.OBSERVER)
    shown = run("blkcolo", "certs", "show", str(lab.cert("old")), check=False)
    assert "roles=observer" in shown
    assert "EXPIRED" in shown
