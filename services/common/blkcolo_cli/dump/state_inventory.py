"""What a service has on its disk: names, sizes and states, never a disk's content.

Everything is only read, so that a running service is not disturbed.
"""

from __future__ import annotations

import json
import sqlite3
import time
from typing import TYPE_CHECKING

from blkcolo.storage import records

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Of a journal's end so much is read; its last record is the truth.
_JOURNAL_BYTES = 1 << 20
_STATE = 1


def files(folder: Path) -> str:
    """All files below the folder, a line each: mode, bytes, bytes on disk, time, name.

    Raises:
        OSError: it cannot be read.
    """
    folder.stat()
    lines = [_line(folder, path) for path in sorted(folder.rglob("*"))]
    return "\n".join(["mode   bytes   on disk   changed (UTC)   name", *lines]) + "\n"


def _line(folder: Path, path: Path) -> str:
    try:
        found = path.lstat()
    except OSError as error:  # gone since, as undo layers go
        return f"{path.relative_to(folder)}: {error.strerror}"
    changed = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(found.st_mtime))
    return (
        f"{found.st_mode:o} {found.st_size} {found.st_blocks * 512} {changed}"
        f" {path.relative_to(folder)}"
    )


def image(path: Path) -> str:
    """One disk: kind, size and what of it is allocated.

    Raises:
        OSError: it is not there.
    """
    found = path.stat()
    kind = "block device" if path.is_block_device() else "file"
    allocated = found.st_blocks * 512
    return f"{path}: {kind}, {found.st_size} bytes, {allocated} allocated\n"


def journal(path: Path) -> str:
    """The last state in a secondary's journal, as JSON.

    Raises:
        OSError: it cannot be read.
        ValueError: it holds no state.
    """
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _JOURNAL_BYTES))
        data = file.read()
    states = [
        data[record.position : record.end]
        for record in _records(data)
        if record.kind == _STATE and record.end <= len(data)
    ]
    if not states:
        raise ValueError(f"{path} holds no whole state record")  # noqa: TRY003 - told in the bundle
    return json.dumps(json.loads(states[-1]), indent=2)


def _records(data: bytes) -> Iterator[records.Record]:
    at = data.find(records.MAGIC)
    while at >= 0:
        record = records.decode(data, at, at)
        if record is not None:
            yield record
        at = data.find(records.MAGIC, at + 1 if record is None else record.end)


def store(path: Path) -> str:
    """The coordinator's groups, as its database has them.

    Raises:
        sqlite3.Error: it cannot be read.
    """
    database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        database.row_factory = sqlite3.Row
        rows = database.execute("SELECT * FROM groups ORDER BY name").fetchall()
        return json.dumps([dict(row) for row in rows], indent=2)
    finally:
        database.close()
