"""Disk images: of random bytes, copied, named by their content."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_STEP = 4 << 20


def fill(image: Path, size: int) -> None:
    """Makes an image of random bytes: no holes, nothing that compresses."""
    with image.open("wb") as file:
        for start in range(0, size, _STEP):
            file.write(os.urandom(min(_STEP, size - start)))


def copy(source: Path, target: Path) -> None:
    """Copies an image."""
    target.touch()
    with source.open("rb") as read, target.open("r+b") as write:
        while piece := read.read(_STEP):
            write.write(piece)


def digest(image: Path) -> str:
    """Names the content of a file; equal names, equal bytes."""
    found = hashlib.blake2b()
    with image.open("rb") as file:
        while piece := file.read(_STEP):
            found.update(piece)
    return found.hexdigest()
