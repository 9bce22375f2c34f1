"""The URIs that are shown can be used, wherever the server listens."""

from __future__ import annotations

import socket

import pytest

from blkcolo.addresses import Address
from blkcolo.nbd.server import NbdServer

HERE = socket.gethostname()


@pytest.mark.parametrize(
    ("listen", "advertise", "host"),
    [
        ("127.0.0.1:0", None, "127.0.0.1"),
        ("0.0.0.0:0", None, HERE),
        ("[::]:0", None, HERE),
        ("0.0.0.0:0", "vm-host:10809", "vm-host"),
    ],
)
async def test_uri_names_a_host_that_clients_can_connect_to(
    listen: str, advertise: str | None, host: str
) -> None:
    told = Address.parse(advertise) if advertise else None
    server = NbdServer({}, advertise=told)
    await server.start(Address.parse(listen))
    try:
        assert server.bound is not None
        port = told.port if told else server.bound.port
        assert server.uri("disk0") == f"nbd://{host}:{port}/disk0"
    finally:
        await server.stop()
