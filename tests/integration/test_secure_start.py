"""One service alone: what it refuses to start with, and its metrics over HTTPS."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest

from blkcolo.security.authorization import PeerRole
from tests.lab import Lab
from tests.stack import Stack, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration

EVERYWHERE = "0.0.0.0"  # noqa: S104 - what is refused


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lab = Lab(tmp_path / "lab")
    for role in PeerRole:
        lab.issue(role.value)
    return lab


@pytest.fixture
def alone(lab: Lab, tmp_path: Path) -> Iterator[Stack]:
    """A coordinator without peers."""
    stack = Stack(tmp_path, lab=lab)
    try:
        yield stack
    finally:
        stack.close()


def configure(stack: Stack, *changes: tuple[str, str]) -> None:
    path = stack.config("coordinator")
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)


def refusal(stack: Stack) -> str:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "blkcolo_cli", "coordinator"),
            *("--config", str(stack.config("coordinator"))),
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    return done.stderr


def test_a_certificate_of_another_role_and_an_expired_one_stop_the_start(
    alone: Stack, lab: Lab
) -> None:
    lab.issue("coordinator", PeerRole.NODE)
    assert "needs the URI blkcolo://role/coordinator" in refusal(alone)
    lab.issue_expired("coordinator", PeerRole.COORDINATOR)
    message = refusal(alone)
    assert f"tls.cert = '{lab.cert('coordinator')}': expired on" in message


def test_without_tls_another_address_starts_only_if_insecure_says_so(
    tmp_path: Path,
) -> None:
    stack = Stack(tmp_path)
    listen = f'grpc.listen = "{stack.address("coordinator")}"'
    open_to_all = listen.replace("127.0.0.1", EVERYWHERE)
    configure(stack, (listen, open_to_all))
    assert "not local, and would be plain text" in refusal(stack)
    configure(stack, (open_to_all, f"{open_to_all}\ninsecure = true"))
    try:
        stack.start("coordinator")
        assert "plain text beyond this machine is allowed" in stack.log("coordinator")
        assert "blkcolo_insecure 1.0" in stack.scrape("coordinator")
    finally:
        stack.close()


def test_with_tls_every_address_starts_and_http_is_https_for_the_ca_only(
    alone: Stack, lab: Lab
) -> None:
    local = f'"127.0.0.1:{alone.metrics["coordinator"]}"'
    configure(alone, (local, local.replace("127.0.0.1", EVERYWHERE)))
    alone.start("coordinator")
    port = alone.metrics["coordinator"]
    wait_until(lambda: '"ready"' in alone.log("coordinator"), "ready")

    silent = socket.create_connection(("127.0.0.1", port))  # holds up nobody
    with silent:
        assert "blkcolo_insecure 0.0" in read(port, lab, "observer")
    assert "<title>blkcolo</title>" in read(port, lab, "observer", "/")
    assert '"groups"' in read(port, lab, "observer", "/status.json")
    for path in ("/metrics", "/", "/status.json"):
        with pytest.raises(OSError, match=r"(?i)certificate|reset|eof|closed"):
            read(port, lab, None, path)
        plain = f"http://127.0.0.1:{port}{path}"
        with pytest.raises(OSError, match=r"(?i)reset|closed|remote"):
            urllib.request.urlopen(plain, timeout=5)

    before = serial(port, lab)
    lab.issue("coordinator")
    assert serial(port, lab) != before


def serial(port: int, lab: Lab) -> object:
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        trusting(lab, "observer").wrap_socket(plain, server_hostname="127.0.0.1") as it,
    ):
        return (it.getpeercert() or {})["serialNumber"]


def trusting(lab: Lab, name: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(lab.ca))
    if name is not None:
        context.load_cert_chain(lab.cert(name), lab.key(name))
    return context


def read(port: int, lab: Lab, name: str | None, path: str = "/metrics") -> str:
    address = f"https://127.0.0.1:{port}{path}"
    context = trusting(lab, name)
    with urllib.request.urlopen(address, timeout=5, context=context) as answer:
        return str(answer.read().decode())
