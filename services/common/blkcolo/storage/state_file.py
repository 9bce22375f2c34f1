"""Small files that hold from one moment to the next: written aside, synced, renamed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blkcolo.errors import from_os_error

if TYPE_CHECKING:
    from blkcolo.storage.files import Folder


def load(folder: Folder, name: str) -> bytes | None:
    """The content; None where there is no such file. Raises OSError."""
    if name not in folder.names():
        return None
    file = folder.open(name)
    try:
        content = bytearray(file.size)
        file.read_into(0, memoryview(content))
        return bytes(content)
    finally:
        file.close()


def save(folder: Folder, name: str, content: bytes) -> None:
    """Replaces the content; it holds when this returns.

    Raises:
        BlkcoloError: the disk refused; the old content holds.
    """
    spare = f"{name}.new"
    try:
        file = folder.open(spare)
        try:
            file.truncate(0)
            file.write(0, content)
            file.sync()
        finally:
            file.close()
        folder.rename(spare, name)
    except OSError as error:
        raise from_os_error(error, f"writing {name}") from error
