"""A service's folder, held by one process at a time."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from blkcolo.errors import Invalid, Reason, Refused

if TYPE_CHECKING:
    from pathlib import Path


class DataDirectory:
    """The folder, locked until `close`."""

    def __init__(self, path: Path) -> None:
        """Creates and locks the folder.

        Raises:
            Refused: another process holds it.
            Invalid: it cannot be created or written.
        """
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise Invalid(
                Reason.INVALID,
                f"data_dir = {str(path)!r}: {error.strerror};"
                " name a folder that can be written",
            ) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(self._fd, 32, 0).decode() or "unknown"
            os.close(self._fd)
            raise Refused(
                Reason.WRONG_STATE,
                f"data_dir = {str(path)!r}: in use by process {holder};"
                " stop that one, or name another folder",
            ) from error
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, str(os.getpid()).encode(), 0)

    def close(self) -> None:
        """Lets the folder go."""
        os.close(self._fd)
