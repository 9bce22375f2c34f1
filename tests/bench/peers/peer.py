"""What takes part in a comparison, and how its processes live."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Protocol

from tests.stack import wait_until
from tests.tools import require_tool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_STOP_SECONDS = 10


class Peer(Protocol):
    """A block server under load."""

    @property
    def name(self) -> str:
        """Its name in tables."""
        ...

    @property
    def uri(self) -> str:
        """The NBD URI that takes the load."""
        ...

    @property
    def images(self) -> tuple[Path, ...]:
        """Its disks; each begins as a copy of the same image."""
        ...

    def after_burst(self) -> None:
        """Called when a load has ended: no request is in flight."""
        ...

    def check_replica(self, burst: Burst) -> str | None:
        """Fails over; what was found, or None where there is no replica.

        Args:
            burst: writes to this peer that come after its last checkpoint.

        Raises:
            AssertionError: the failed-over disk is not the last checkpoint.
        """
        ...


class Burst(Protocol):
    """Some writes."""

    def __call__(self, uri: str) -> None:
        """Writes to an export."""
        ...


@contextlib.contextmanager
def process(log: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program that runs in the background, and is stopped at the end."""
    with log.open("ab") as output:
        started = subprocess.Popen(
            [require_tool(command[0]), *command[1:]], stdout=output, stderr=output
        )
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait(_STOP_SECONDS)


def wait_listening(port: int, started: subprocess.Popen[bytes], log: Path) -> None:
    """Waits until a started program listens on a loopback port."""

    def listening() -> bool:
        assert started.poll() is None, f"it ended:\n{log.read_text()}"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_until(listening, f"{log.stem} listens")


def timed_ms(began: float) -> float:
    """Milliseconds since a `time.perf_counter`."""
    return (time.perf_counter() - began) * 1000
