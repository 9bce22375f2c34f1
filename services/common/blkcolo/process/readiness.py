"""Tells whoever started a service that it is ready, reloads, stops: sd_notify(3).

systemd (Type=notify) and `blkcolo up` both listen on the socket that they name in
NOTIFY_SOCKET. Only the process itself knows that it serves: that something answers on
its port may be another one.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress


def tell_ready() -> None:
    """It serves, or goes on serving after a reload."""
    _tell("READY=1")


def tell_reloading() -> None:
    """It reads its configuration again; `tell_ready` follows."""
    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    _tell(f"RELOADING=1\nMONOTONIC_USEC={now}")


def tell_stopping() -> None:
    """It was told to stop, or could not start."""
    _tell("STOPPING=1")


def _tell(state: str) -> None:
    """Sends to NOTIFY_SOCKET, if there is one; whoever listened may be gone."""
    name = os.environ.get("NOTIFY_SOCKET")
    if name:
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
            suppress(ConnectionRefusedError, FileNotFoundError),
        ):
            sender.sendto(state.encode(), _address(name))


def _address(name: str) -> str:
    """`@` stands for the zero byte of the abstract namespace."""
    return "\0" + name[1:] if name.startswith("@") else name


class ReadySocket:
    """Waits for one process to say that it is ready."""

    def __init__(self) -> None:
        """Binds an abstract name that the kernel chooses."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind("")

    @property
    def name(self) -> str:
        """What the process gets as NOTIFY_SOCKET."""
        return "@" + bytes(self._socket.getsockname()[1:]).decode()

    def fileno(self) -> int:
        """For the event loop, which calls `ready` when there is something to read."""
        return self._socket.fileno()

    def ready(self) -> bool:
        """Takes one datagram; True if it says so."""
        return b"READY=1" in self._socket.recv(4096).splitlines()

    def close(self) -> None:
        """Gives the name back."""
        self._socket.close()
