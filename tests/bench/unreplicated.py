"""NBD servers without any replication: what a disk can do at best."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tests.bench import peer
from tests.bench.pair import copy
from tests.stack import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.bench.peer import Burst

NBDKIT = "nbdkit file"
QEMU_NBD = "qemu-nbd"


class Unreplicated:
    """One server of one image."""

    def __init__(self, name: str, uri: str) -> None:
        """Takes its name and where it listens."""
        self.name = name
        self.uri = uri

    def after_burst(self) -> None:
        """There is nothing to take a checkpoint of."""

    def check_replica(self, burst: Burst) -> None:
        """There is no replica."""
        del burst


@contextlib.contextmanager
def nbdkit(folder: Path, base: Path) -> Iterator[Unreplicated]:
    """`nbdkit file` on a copy of `base`."""
    with _served(folder, base, "nbdkit", "nbdkit", "-f", "-p", "{port}", "file") as uri:
        yield Unreplicated(NBDKIT, uri)


@contextlib.contextmanager
def qemu_nbd(folder: Path, base: Path) -> Iterator[Unreplicated]:
    """`qemu-nbd` on a copy of `base`."""
    options = ("-f", "raw", "-t", "-p", "{port}", "--cache=writeback")
    with _served(folder, base, "qemu-nbd", "qemu-nbd", *options) as uri:
        yield Unreplicated(QEMU_NBD, uri)


@contextlib.contextmanager
def _served(folder: Path, base: Path, stem: str, *command: str) -> Iterator[str]:
    (port,) = free_ports(1)
    image, log = folder / f"{stem}.img", folder / f"{stem}.log"
    copy(base, image)
    filled = [part.format(port=port) for part in command]
    with peer.process(log, *filled, str(image)) as started:
        peer.wait_listening(port, started, log)
        yield f"nbd://127.0.0.1:{port}"
