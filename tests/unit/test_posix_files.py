"""Zeroing where the file system, or the device, does not help."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from blkcolo import posix_files
from blkcolo.posix_files import open_image

if TYPE_CHECKING:
    from pathlib import Path

_SIZE = 1 << 16


@pytest.mark.parametrize("may_trim", [True, False])
@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EINVAL])
def test_zeroing_that_the_device_refuses_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, may_trim: bool
) -> None:
    """EINVAL: a block device frees whole sectors only, a client may ask for less."""

    def refuse(*_: int) -> None:
        raise OSError(number, os.strerror(number))

    disk = open_image(tmp_path / "disk", "disk0", _SIZE)
    try:
        disk.write(0, b"x" * _SIZE)
        monkeypatch.setattr(posix_files, "_fallocate", refuse)
        assert not disk.zero_fast(100, 1000, may_trim=may_trim)
        disk.zero(100, 1000, may_trim=may_trim)
        content = bytearray(_SIZE)
        disk.read_into(0, memoryview(content))
        assert content == b"x" * 100 + bytes(1000) + b"x" * (_SIZE - 1100)
    finally:
        disk.close()
