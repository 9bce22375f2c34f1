"""The NBD server: listens, counts connections, closes them."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from blkcolo.addresses import Address
from blkcolo.errors import Reason, Refused
from blkcolo.nbd.connection import Connection
from blkcolo.nbd.request_metrics import RequestMetrics

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from blkcolo.nbd.export import Export
    from blkcolo.nbd.request_metrics import Place
    from blkcolo.nbd.tls import NbdTls

#: Seconds that requests under way get when the server stops.
_STOP_SECONDS = 3.0


class NbdServer:
    """Serves exports by name to many clients."""

    def __init__(
        self,
        exports: Mapping[str, Export],
        *,
        handshake_timeout: float = 10.0,
        max_connections: int = 100,
        busy_poll: float = 0.0,
        tls: NbdTls | None = None,
        advertise: Address | None = None,
        place_of: Callable[[str], Place] | None = None,
    ) -> None:
        """Takes what to serve.

        Args:
            exports: by name; may change while the server runs.
            handshake_timeout: seconds a client has to choose an export.
            max_connections: further clients are dropped at once.
            busy_poll: seconds that a client with one request at a time is waited for
                without sleeping; see `BusyPoll`.
            tls: then every client must upgrade by STARTTLS.
            advertise: where clients reach it; by default where it listens.
            place_of: see `RequestMetrics`.
        """
        self.bound: Address | None = None
        self.connections: set[Connection] = set()
        self.metrics = RequestMetrics(place_of)
        self._exports = exports
        self._handshake_timeout = handshake_timeout
        self._max_connections = max_connections
        self._busy_poll = busy_poll
        self._tls = tls
        self._advertise = advertise
        self._server: asyncio.Server | None = None

    async def start(self, address: Address) -> None:
        """Listens; port 0 chooses one.

        Raises:
            Refused: the address is in use, or cannot be listened on.
        """
        loop = asyncio.get_running_loop()
        try:
            if address.is_unix:
                path = Path(address.path)
                if path.is_socket() and not await _answers(path):  # noqa: ASYNC240 - instant
                    path.unlink()  # noqa: ASYNC240 - instant; a killed process left it
                self._server = await loop.create_unix_server(self._accept, path)
                self.bound = address
            else:
                self._server = await loop.create_server(
                    self._accept, address.host, address.port, backlog=128
                )
                port = self._server.sockets[0].getsockname()[1]
                self.bound = address.with_port(port)
        except OSError as error:
            number = error.errno or 0  # below 0: of the name's look-up
            why = os.strerror(number) if number > 0 else error.strerror or error
            raise Refused(
                Reason.WRONG_STATE,
                f"nbd.listen = {str(address)!r}: {why};"
                " stop the other service, or listen elsewhere",
            ) from error

    def _accept(self) -> Connection:
        full = len(self.connections) >= self._max_connections
        timeout = 0.0 if full else self._handshake_timeout
        return Connection(
            self._exports,
            self.connections,
            timeout,
            self.metrics,
            self._tls,
            self._busy_poll,
        )

    def uri(self, export: str) -> str:
        """The NBD URI of an export, as clients can use it."""
        reached = self._advertise or self.bound
        if reached is None:
            return ""
        if reached.is_any:
            reached = Address(socket.gethostname(), reached.port)
        return reached.nbd_uri(export, tls=self._tls is not None)

    async def stop(self) -> None:
        """Accepts nobody, completes what is under way, closes all connections."""
        if self._server is None:
            return
        self._server.close()
        for connection in list(self.connections):
            connection.finish()
        waits = [asyncio.ensure_future(c.closed.wait()) for c in self.connections]
        if waits:
            _, late = await asyncio.wait(waits, timeout=_STOP_SECONDS)
            for connection in list(self.connections):
                connection.abort()
            for wait in late:
                wait.cancel()
        if self.bound is not None and self.bound.is_unix:
            Path(self.bound.path).unlink(missing_ok=True)  # noqa: ASYNC240 - instant


async def _answers(path: Path) -> bool:
    try:
        _, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return False
    writer.close()
    return True
