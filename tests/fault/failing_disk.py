"""A disk image whose I/O fails on command: nbdkit's error filter behind FUSE."""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import TYPE_CHECKING

from tests.stack import wait_until
from tests.tools import missing, require_tool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class FailingDisk:
    """An image at `path`; what it holds is at `content`, whatever fails."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.content = path.with_suffix(".content")
        self._size = size
        self._triggers = {
            what: path.with_suffix(f".fail-{what}") for what in ("reads", "writes")
        }
        self._server: subprocess.Popen[bytes] | None = None

    def attach(self) -> None:
        """Mounts it; skips, or in CI fails, the test where that cannot be."""
        for path in (self.path, self.content):
            path.touch()
        os.truncate(self.content, self._size)
        reads, writes = self._triggers["reads"], self._triggers["writes"]
        parameters = ["error=EIO", "error-rate=100%", f"error-file={writes}"]
        parameters.append(f"error-pread-file={reads}")
        with self.path.with_suffix(".log").open("wb") as log:
            self._server = subprocess.Popen(
                [
                    *(require_tool("nbdfuse"), str(self.path), "--command"),
                    *(require_tool("nbdkit"), "-s", "--filter=error"),
                    *("file", str(self.content), *parameters),
                ],
                stdout=log,
                stderr=log,
            )
        wait_until(self._ready, "the failing disk is mounted")

    def _ready(self) -> bool:
        assert self._server is not None
        if self._server.poll() is not None:
            text = self.path.with_suffix(".log").read_text()
            missing(f"FUSE does not work here: {text.strip()}")
        mounted, around = self.path.stat(), self.path.parent.stat()
        return mounted.st_dev != around.st_dev and mounted.st_size == self._size

    def fail(self, *whats: str) -> None:
        """From here on "reads", "writes" fail with EIO, uncached."""
        for what in whats:
            self._triggers[what].touch()
        with self.path.open("rb") as cached:
            os.posix_fadvise(cached.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def heal(self) -> None:
        """From here on all goes well."""
        for trigger in self._triggers.values():
            trigger.unlink(missing_ok=True)

    def detach(self) -> None:
        """Unmounts it, and ends its server."""
        if self._server is None:
            return
        subprocess.run(["umount", "--lazy", self.path], check=False)
        try:
            self._server.wait(10)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait(10)


@contextlib.contextmanager
def failing_disk(path: Path, size: int) -> Iterator[FailingDisk]:
    """A disk that is mounted at `path` meanwhile."""
    disk = FailingDisk(path, size)
    try:
        disk.attach()
        yield disk
    finally:
        disk.detach()
