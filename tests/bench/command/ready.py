"""What must hold before anything is measured: folders that take what comes."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.report.record import file_system

if TYPE_CHECKING:
    from tests.bench.catalogue import Bench
    from tests.bench.report.settings import Settings

_MIB = 1 << 20


class NotReadyError(Exception):
    """Nothing can be measured as it was asked for; the text says what to do."""


def check_folder(bench: Bench, settings: Settings, folder: Path, option: str) -> None:
    """The images of a run can live there.

    Args:
        bench: what is run.
        settings: with what.
        folder: where its images will live.
        option: what names another folder.

    Raises:
        NotReadyError: they cannot.
    """
    another = f"name another folder ({option})"
    if bench.on_disk and file_system(folder) == "tmpfs":
        message = f"{bench.name}: {folder.resolve()} is tmpfs, no disk: {another}"
        raise NotReadyError(message)
    _check_writable(folder, another)
    free, needed = _free(folder), bench.room(settings)
    if free < needed:
        smaller = "" if settings.size is None else ", or a smaller size (SIZE=)"
        message = (
            f"{bench.name} needs {needed // _MIB:,} MiB in {folder.resolve()},"
            f" and {free // _MIB:,} MiB are free: {another}{smaller}"
        )
        raise NotReadyError(message)


def _free(folder: Path) -> int:
    """Bytes that files may take there; those of a tmpfs live in memory."""
    free = shutil.disk_usage(folder).free
    return min(free, _memory()) if file_system(folder) == "tmpfs" else free


def _memory() -> int:
    """Bytes of memory that nobody would miss."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, value = line.split(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    raise AssertionError


def check_out(out: Path) -> None:
    """Makes the folder of the results.

    Raises:
        NotReadyError: nothing can be written there.
    """
    another = "name another folder for the results (OUT=)"
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"{out} cannot be made ({error.strerror}): {another}"
        raise NotReadyError(message) from error
    _check_writable(out, another)


def _check_writable(folder: Path, another: str) -> None:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
            file.flush()
    except OSError as error:
        message = f"{folder} cannot be written ({error.strerror}): {another}"
        raise NotReadyError(message) from error
