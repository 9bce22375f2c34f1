"""A lasting channel shows a renewed certificate, and lets old calls end in peace."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
import pytest

from blkcolo.addresses import Address
from blkcolo.errors import Refused
from blkcolo.rpc.client import Dialer, PeerChannel
from blkcolo.rpc.credentials import server_credentials
from blkcolo.security.certificate_files import CertificateFiles
from tests.lab import Lab

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class Paths(NamedTuple):
    ca: Path
    cert: Path
    key: Path


def files(lab: Lab, name: str) -> CertificateFiles:
    return CertificateFiles(Paths(lab.ca, lab.cert(name), lab.key(name)))


class Mirror:
    """Answers with the certificate that the caller showed, at once or when let go."""

    def __init__(self) -> None:
        self.entered, self.let_go = asyncio.Event(), asyncio.Event()
        self.address = Address("127.0.0.1", 0)

    async def show(self, request: bytes, context: Any) -> bytes:
        if request == b"wait":
            self.entered.set()
            await self.let_go.wait()
        return bytes(context.auth_context()["x509_pem_cert"][0])


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lab = Lab(tmp_path / "lab")
    lab.issue("node")
    lab.issue("coordinator")
    return lab


@pytest.fixture
async def mirror(lab: Lab) -> AsyncIterator[Mirror]:
    mirror = Mirror()
    server = grpc.aio.server()
    handlers: dict[str, Any] = {
        "Show": grpc.unary_unary_rpc_method_handler(mirror.show)
    }
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("test.Mirror", handlers),)
    )
    credentials = server_credentials(files(lab, "node"))
    mirror.address = Address(
        "127.0.0.1", server.add_secure_port("127.0.0.1:0", credentials)
    )
    await server.start()
    yield mirror
    await server.stop(None)


async def test_the_next_call_shows_the_renewed_certificate(
    lab: Lab, mirror: Mirror
) -> None:
    dialer = Dialer(files(lab, "coordinator"))
    peer: PeerChannel[Any] = PeerChannel(
        dialer, mirror.address, lambda channel: channel.unary_unary("/test.Mirror/Show")
    )
    first = lab.cert("coordinator").read_bytes()
    assert await peer.stub(b"", timeout=20) == first
    waits = asyncio.ensure_future(peer.stub(b"wait", timeout=40))
    await asyncio.wait_for(mirror.entered.wait(), 20)

    lab.issue("coordinator")
    renewed = lab.cert("coordinator").read_bytes()
    assert renewed != first
    assert await peer.stub(b"", timeout=20) == renewed
    mirror.let_go.set()
    assert await waits == first
    await peer.close()


async def test_a_peer_beyond_the_machine_is_not_called_in_plain_text() -> None:
    with pytest.raises(Refused, match="another machine"):
        PeerChannel(Dialer(), Address("192.0.2.1", 1), lambda channel: channel)
