"""NBD servers without any replication: what a disk can do at best."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tests.bench.peers import peer
from tests.bench.peers.images import copy
from tests.stack import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.bench.peers.peer import Burst

NBDKIT = "nbdkit file"
QEMU_NBD = "qemu-nbd"


class Unreplicated:
    """One server of one image."""

    def __init__(self, name: str, uri: str, image: Path) -> None:
        """Takes its name, where it listens, and its disk."""
        self.name = name
        self.uri = uri
        self.images = (image,)

    def after_burst(self) -> None:
        """There is nothing to take a checkpoint of."""

    def check_replica(self, burst: Burst) -> None:
        """There is no replica."""
        del burst


@contextlib.contextmanager
def nbdkit(folder: Path, base: Path) -> Iterator[Unreplicated]:
    """`nbdkit file` on a copy of `base`."""
    options = ("-f", "-p", "{port}", "file")
    with _served(folder, base, "nbdkit", *options) as (uri, image):
        yield Unreplicated(NBDKIT, uri, image)


@contextlib.contextmanager
def qemu_nbd(folder: Path, base: Path) -> Iterator[Unreplicated]:
    """`qemu-nbd` on a copy of `base`."""
    options = ("-f", "raw", "-t", "-p", "{port}", "--cache=writeback")
    with _served(folder, base, "qemu-nbd", *options) as (uri, image):
        yield Unreplicated(QEMU_NBD, uri, image)


@contextlib.contextmanager
def _served(
    folder: Path, base: Path, program: str, *options: str
) -> Iterator[tuple[str, Path]]:
    (port,) = free_ports(1)
    image, log = folder / f"{program}.img", folder / f"{program}.log"
    copy(base, image)
    filled = [part.format(port=port) for part in options]
    with peer.process(log, program, *filled, str(image)) as started:
        peer.wait_listening(port, started, log)
        yield f"nbd://127.0.0.1:{port}", image
