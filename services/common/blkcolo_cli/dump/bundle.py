"""The files of a support bundle, and the one place that keeps secrets out of it."""

from __future__ import annotations

import io
import os
import re
import sqlite3
import tarfile
import time
from typing import TYPE_CHECKING

from blkcolo.errors import BlkcoloError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: PEM of any kind, also where its beginning or its end was cut off.
_PEM = re.compile(r"-----BEGIN [A-Z ]+-----.*?(?:-----END [A-Z ]+-----|\Z)", re.DOTALL)
_PEM_END = re.compile(r"\A.*-----END [A-Z ]+-----", re.DOTALL)
_SECRET = re.compile(
    r"""(["']?[\w.-]*(?:password|passphrase|secret|token)[\w.-]*["']?\s*[:=]\s*)"""
    r"""("[^"]*"|'[^']*'|[^\s,}]+)""",
    re.IGNORECASE,
)
_LEFT_OUT = "(left out)"


def without_secrets(text: str) -> str:
    """The text without keys, certificates, and values named like secrets."""
    text = _PEM_END.sub(_LEFT_OUT, _PEM.sub(_LEFT_OUT, text))
    return _SECRET.sub(rf'\1"{_LEFT_OUT}"', text)


class Bundle:
    """Texts by name, and what could not be had."""

    def __init__(self, name: str, tell: Callable[[str], None]) -> None:
        """Takes the name of the top folder, and what hears of each step."""
        self._name = name
        self._tell = tell
        self._texts: dict[str, str] = {}
        self.missing: dict[str, str] = {}

    def take(self, name: str, make: Callable[[], str]) -> None:
        """Adds what `make` returns; where that fails, why it is missing."""
        self._tell(name)
        try:
            self._texts[name] = without_secrets(make())
        except (BlkcoloError, OSError, sqlite3.Error, ValueError) as error:
            why = "; ".join(str(error).splitlines())
            self.missing[name] = without_secrets(why)

    def write(self, path: Path) -> int:
        """Writes the archive, for its owner only; returns the number of files.

        Raises:
            OSError: it cannot be written.
        """
        listed = "".join(f"{name}: {why}\n" for name, why in self.missing.items())
        texts = {**self._texts, "missing.txt": listed or "nothing\n"}
        fresh = path.with_name(f"{path.name}.new")
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with (
            os.fdopen(descriptor, "wb") as file,
            tarfile.open(fileobj=file, mode="w:gz") as archive,
        ):
            for name, text in sorted(texts.items()):
                content = text.encode()
                entry = tarfile.TarInfo(f"{self._name}/{name}")
                entry.size, entry.mode = len(content), 0o600
                entry.mtime = int(time.time())
                archive.addfile(entry, io.BytesIO(content))
        fresh.replace(path)
        return len(texts)
