"""Files where the file system, or the device, does not help."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from blkcolo.storage import posix_files
from blkcolo.storage.posix_files import open_image

if TYPE_CHECKING:
    from pathlib import Path

_SIZE = 1 << 16


@pytest.mark.parametrize("cut", [1, 3, 4, 7, 8, 9])
def test_a_write_that_the_kernel_cuts_short_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    real = os.pwrite

    def short(fd: int, parts: tuple[bytes, ...], offset: int) -> int:
        return real(fd, b"".join(parts)[:cut], offset)

    disk = open_image(tmp_path / "disk", "disk0", _SIZE)
    try:
        monkeypatch.setattr(os, "pwritev", short)
        monkeypatch.setattr(os, "pwrite", lambda fd, d, at: real(fd, d[:2], at))
        disk.write(5, b"abc", memoryview(b"d"), bytearray(b"efghi"))
        disk.write(40, b"12345")
        content = bytearray(50)
        disk.read_into(0, memoryview(content))
        assert content == b"\0" * 5 + b"abcdefghi" + b"\0" * 26 + b"12345" + b"\0" * 5
    finally:
        disk.close()


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
