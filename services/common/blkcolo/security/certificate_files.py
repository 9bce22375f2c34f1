"""The three TLS files of a process, read anew when they change.

Whoever needs certificates asks `current` each time: every TLS handshake of the
server, every new connection of a client, every scrape. Unchanged files cost three
`stat` calls. Files that changed and cannot be used (a renewal half done, a wrong
pair) leave the old ones in force: that is logged, and counted in `failures`.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

import structlog

from blkcolo.errors import Invalid, Reason
from blkcolo.security import authorization

if TYPE_CHECKING:
    from pathlib import Path

    from blkcolo.security.authorization import PeerRole
    from blkcolo.security.certificates import Certificates

_log = structlog.get_logger(__name__)

_Stamp = tuple[tuple[int, int, int], ...]


class Paths(Protocol):
    """Where the files are: a `[tls]` section, or options of the command line."""

    @property
    def ca(self) -> Path:
        """The CA's certificate."""
        ...

    @property
    def cert(self) -> Path:
        """The own certificate, intermediates behind it."""
        ...

    @property
    def key(self) -> Path:
        """Its private key."""
        ...


class CertificateFiles:
    """Safe to use from any thread: gRPC and the metrics endpoint have their own."""

    def __init__(self, paths: Paths) -> None:
        """Reads and checks the files.

        Raises:
            Invalid: names key and file, and says what to do.
        """
        self.paths = paths
        #: Changes of the files that could not be used.
        self.failures = 0
        self._lock = threading.Lock()
        self._stamp = self._look()
        self._current = self._read()

    @property
    def current(self) -> Certificates:
        """What is in force now; the same object until that changes."""
        with self._lock:
            self._refresh()
            return self._current

    def require_role(self, role: PeerRole) -> None:
        """Makes sure that the own certificate carries `role`.

        Raises:
            Invalid: it does not, so that peers would refuse this service.
        """
        if role not in self._current.roles:
            raise self._unusable(
                "cert",
                f"carries the roles: {authorization.names(self._current.roles)}; this"
                f" service needs the URI {role.uri} in the subject alternative names",
            )

    def _refresh(self) -> None:
        stamp = self._look()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._current = self._read()
        except Invalid as error:
            self.failures += 1
            _log.error("certificates not reloaded, old ones kept", reason=str(error))
            return
        _log.info("certificates reloaded", cert=str(self.paths.cert))

    def _look(self) -> _Stamp:
        """Tells one content from another; a missing file has a stamp, too."""
        return tuple(_stamp(path) for path in self._files().values())

    def _files(self) -> dict[str, Path]:
        return {"ca": self.paths.ca, "cert": self.paths.cert, "key": self.paths.key}

    def _read(self) -> Certificates:
        content: dict[str, bytes] = {}
        for part, path in self._files().items():
            try:
                content[part] = path.read_bytes()
            except OSError as error:
                raise self._unusable(
                    part, f"{error.strerror}; give a file that this user can read"
                ) from error
        from blkcolo.security import certificates  # noqa: PLC0415 - 4 MiB, for TLS only

        try:
            return certificates.check(**content, now=datetime.now(UTC))
        except certificates.PemError as error:
            raise self._unusable(error.part, str(error)) from error

    def _unusable(self, part: str, why: str) -> Invalid:
        return Invalid(
            Reason.INVALID, f"tls.{part} = {str(self._files()[part])!r}: {why}"
        )


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_size, found.st_ino)
