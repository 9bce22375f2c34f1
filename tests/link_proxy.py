"""A TCP link between two services that a test can stall, cut, slow down or corrupt."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK = 65536
#: Chunks at least so long carry data of the stream, not settings or pings.
_DATA_BYTES = 4096


class LinkProxy:
    """Listens on loopback and passes everything on to a port there.

    Attributes:
        rate: bytes a second towards the server; 0: no limit.
    """

    def __init__(self, port: int) -> None:
        self.rate = 0
        self._target = port
        self._open = threading.Event()
        self._open.set()
        self._cut = False
        self._corrupt = 0
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._start(self._accept)

    def _start(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type] # any of ours
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._cut:
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                client.close()
                continue
            with self._lock:
                self._sockets += [client, server]
            self._start(self._serve, client, server)

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        back = threading.Thread(
            target=self._pass_on, args=(server, client, False), daemon=True
        )
        back.start()
        self._pass_on(client, server, True)
        back.join()
        with self._lock:
            for each in (client, server):
                each.close()

    def _pass_on(
        self, source: socket.socket, target: socket.socket, to_server: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK):
                self._open.wait()
                if to_server:
                    data = self._spoil(data)
                    if self.rate:
                        time.sleep(len(data) / self.rate)
                target.sendall(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _spoil(self, data: bytes) -> bytes:
        if self._corrupt == 0 or len(data) < _DATA_BYTES:
            return data
        at, self._corrupt = self._corrupt % len(data), 0
        return data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :]

    # What a test does to it.

    def corrupt(self, at: int) -> None:
        """Flips a bit of the next data towards the server, at this byte of a chunk."""
        self._corrupt = at

    @property
    def corrupted(self) -> bool:
        """True when that is done."""
        return self._corrupt == 0

    def stall(self) -> None:
        """Nothing passes, and nothing is told, until `heal`."""
        self._open.clear()

    def cut(self) -> None:
        """Ends all connections and refuses new ones until `heal`."""
        self._cut = True
        with self._lock:
            for each in self._sockets:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
            self._sockets = []

    def heal(self) -> None:
        """Everything passes again."""
        self._cut = False
        self._open.set()

    def close(self) -> None:
        """Ends everything."""
        self.heal()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(10)


@contextlib.contextmanager
def between(port: int) -> Iterator[LinkProxy]:
    """A proxy in front of a port."""
    proxy = LinkProxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
