"""Files of the operating system behind the `files` port.

Sparse files and block devices alike: zeros and trims become fallocate(2), holes are
found with lseek(2) SEEK_DATA. Python's os module has no fallocate with flags, hence
ctypes.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat
from typing import TYPE_CHECKING

from blkcolo.errors import Invalid, Reason, Refused
from blkcolo.extents import Extent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# linux/falloc.h
_KEEP_SIZE = 0x01
_PUNCH_HOLE = 0x02
_ZERO_RANGE = 0x10

#: EINVAL: a block device takes whole sectors only.
_UNSUPPORTED = (errno.EOPNOTSUPP, errno.ENOSYS, errno.ENODEV, errno.EINVAL)
_ZEROS = bytes(1 << 20)

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]


def _fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    while _libc.fallocate(fd, mode, offset, length) != 0:
        number = ctypes.get_errno()
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))


class PosixFile:
    """One open file or block device; see `files.BlockFile`."""

    def __init__(self, fd: int) -> None:
        """Takes over the descriptor."""
        self._fd = fd
        #: A stretch known to be data; finding its end again may take milliseconds.
        self._data = Extent(0, 0)

    @property
    def size(self) -> int:
        """Its size in bytes, of a block device as well."""
        return os.lseek(self._fd, 0, os.SEEK_END)

    def read_into(self, offset: int, target: memoryview) -> None:
        """Fills `target`; what lies behind the end reads as 0."""
        done = os.preadv(self._fd, [target], offset)
        while done < len(target):
            count = os.preadv(self._fd, [target[done:]], offset + done)
            if count == 0:
                target[done:] = bytes(len(target) - done)
                return
            done += count

    def write(self, offset: int, *parts: memoryview | bytes | bytearray) -> None:
        """Writes the parts, one behind the other."""
        if len(parts) == 1:
            done = os.pwrite(self._fd, parts[0], offset)
            if done == len(parts[0]):
                return
        else:
            done = os.pwritev(self._fd, parts, offset)
            if done == sum(map(len, parts)):
                return
        rest = memoryview(b"".join(parts))
        while done < len(rest):
            done += os.pwrite(self._fd, rest[done:], offset + done)

    def zero(self, offset: int, length: int, *, may_trim: bool) -> None:
        """Makes the extent read as zeros, in the cheapest way the file allows."""
        if not self.zero_fast(offset, length, may_trim=may_trim):
            self._write_zeros(offset, length)

    def zero_fast(self, offset: int, length: int, *, may_trim: bool) -> bool:
        """As `zero`, but False, and nothing done, where only writing would do."""
        self._data = Extent(0, 0)
        punch = [(_PUNCH_HOLE | _KEEP_SIZE,)]
        keep = [(_ZERO_RANGE,), (_PUNCH_HOLE | _KEEP_SIZE, 0)]
        for modes in punch if may_trim else keep:
            try:
                for mode in modes:
                    _fallocate(self._fd, mode, offset, length)
            except OSError as error:
                if error.errno not in _UNSUPPORTED:
                    raise
            else:
                return True
        return False

    def _write_zeros(self, offset: int, length: int) -> None:
        end = offset + length
        while offset < end:
            step = min(len(_ZEROS), end - offset)
            self.write(offset, memoryview(_ZEROS)[:step])
            offset += step

    def data_extents(self, offset: int, length: int) -> Iterator[Extent]:
        """The parts that are not holes."""
        end = offset + length
        while offset < end:
            if self._data.offset <= offset < self._data.end:
                stop = min(self._data.end, end)
                yield Extent(offset, stop - offset)
                offset = stop
                continue
            try:
                start = os.lseek(self._fd, offset, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:  # no data up to the end of the file
                    return
                if error.errno != errno.EINVAL:
                    raise
                yield Extent(offset, end - offset)  # a block device: all is data
                return
            if start >= end:
                return
            hole = os.lseek(self._fd, start, os.SEEK_HOLE)
            self._data = Extent(start, hole - start)
            stop = min(hole, end)
            yield Extent(start, stop - start)
            offset = stop

    def truncate(self, size: int) -> None:
        """Cuts or extends the file."""
        self._data = Extent(0, 0)
        os.ftruncate(self._fd, size)

    def sync(self) -> None:
        """Calls fdatasync(2).

        A page that could not be written is reported once and stays in the cache as if
        it were durable. So the cache is dropped: who reads again sees what is there.
        """
        try:
            os.fdatasync(self._fd)
        except OSError:
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)
            raise

    def close(self) -> None:
        """Closes the descriptor."""
        os.close(self._fd)


class PosixFolder:
    """A folder of the file system; see `files.Folder`."""

    def __init__(self, path: Path) -> None:
        """Creates the folder if it is not there."""
        self._path = path
        path.mkdir(parents=True, exist_ok=True)

    def names(self) -> list[str]:
        """The names in it, sorted."""
        return sorted(entry.name for entry in self._path.iterdir())

    def open(self, name: str) -> PosixFile:
        """Opens or creates a file."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        return PosixFile(os.open(self._path / name, flags, 0o600))

    def remove(self, name: str) -> None:
        """Removes a file if it is there."""
        (self._path / name).unlink(missing_ok=True)

    def rename(self, old: str, new: str) -> None:
        """Renames and syncs the folder."""
        (self._path / old).replace(self._path / new)
        self.sync()

    def sync(self) -> None:
        """Calls fsync(2) on the folder."""
        fd = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def open_image(path: Path, volume: str, size: int | None, grown: int = 0) -> PosixFile:
    """Opens a disk image or block device for one service alone.

    Args:
        path: the image; created sparse if it is not there and `size` is given.
        volume: the volume's name, for errors.
        size: the size in bytes that it must have; None: whatever it has.
        grown: the larger size that it was given later; a file is extended to it.

    Raises:
        Invalid: it is missing, cannot be opened for writing, or has another size.
        Refused: another process holds it.
    """
    try:
        if size is not None and not path.exists():
            _create_image(path, size)
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise Invalid(
            Reason.INVALID,
            f"volume {volume}: cannot open {path} for reading and writing:"
            f" {error.strerror}; check the path, its permissions and the size"
            + ("" if size else ", or give a size to create it"),
            volume,
            errno=error.errno or 0,
        ) from error
    try:
        _claim(fd, path, volume)
        if grown > (size or 0):
            size = grown
            state = os.fstat(fd)
            if stat.S_ISREG(state.st_mode) and state.st_size < grown:
                os.ftruncate(fd, grown)
        _check_size(fd, path, volume, size)
    except BaseException:
        os.close(fd)
        raise
    return PosixFile(fd)


def _claim(fd: int, path: Path, volume: str) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise Refused(
            Reason.WRONG_STATE,
            f"volume {volume}: {path} is in use by another service;"
            " stop that one, or name another image",
            volume,
        ) from error


def _create_image(path: Path, size: int) -> None:
    """Creates a sparse image, or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(fd, size)
    except OSError:
        path.unlink()
        raise
    finally:
        os.close(fd)


def _check_size(fd: int, path: Path, volume: str, size: int | None) -> None:
    mode = os.fstat(fd).st_mode
    actual = os.lseek(fd, 0, os.SEEK_END)
    if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)) or actual == 0:
        raise Invalid(
            Reason.INVALID,
            f"volume {volume}: {path} is neither a disk image nor a block device,"
            " or it is empty; name another",
            volume,
        )
    if size is not None and actual != size:
        raise Invalid(
            Reason.VOLUME_MISMATCH,
            f"volume {volume}: {path} has {actual} bytes, the configuration says"
            f" {size}; correct the size, or leave it out",
            volume,
        )
