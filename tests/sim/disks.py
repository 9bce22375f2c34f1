"""Disks, files and folders of a simulated machine: they die, tear, forget and fail.

Everything is seen at once by readers (the page cache). What was not synced may be
lost with the machine's power: any mixture of old and new sectors comes back, and any
tail of the folder's changes is undone. The death of a process loses nothing of that,
but may come in the middle of a write.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from tests.memory_files import SparseBytes

if TYPE_CHECKING:
    import random

SECTOR = 512


class Crash(BaseException):
    """The process dies here; nothing in it may catch that."""


class Machine:
    """What a process runs on.

    Attributes:
        host: its crashes are losses of power.
        fuse: file operations until the process dies; None: it does not.
        failing: so many of the next file operations fail.
        fails_in: the file operation that comes so many behind the next one fails.
    """

    def __init__(self, name: str, rng: random.Random, *, host: bool) -> None:
        self.name = name
        self.host = host
        self.fuse: int | None = None
        self.failing = 0
        self.fails_in: int | None = None
        self.rng = rng
        #: State files of a group, whatever its role; and those of its Disk Buffer.
        self.folder = SimFolder(self)
        self.buffer = SimFolder(self)
        self.images: list[SimFile] = []

    def image(self, size: int) -> SimFile:
        """A disk image that is there from the beginning."""
        image = SimFile(self, size)
        image.sync()
        self.images.append(image)
        return image

    def burn(self) -> bool:
        """One file operation; True if the process dies in it; may raise OSError."""
        if self.fuse is not None:
            self.fuse -= 1
            return self.fuse <= 0
        if self.fails_in is not None:
            self.fails_in -= 1
            if self.fails_in < 0:
                self.fails_in, self.failing = None, self.failing + 1
        if self.failing:
            self.failing -= 1
            number = self.rng.choice((errno.EIO, errno.ENOSPC))
            raise OSError(number, "simulated")
        return False

    def die_in(self) -> None:
        """One file operation that is done or not at all."""
        if self.burn():
            raise Crash

    def crashed(self) -> None:
        """The process is dead; with `host`, the power was lost."""
        self.fuse, self.failing, self.fails_in = None, 0, None
        if self.host:
            for file in self.images:
                file.lose_power()
            for folder in (self.folder, self.buffer):
                for file in folder.everything():
                    file.lose_power()
                folder.lose_power()


class SimFile(SparseBytes):
    """A file; see `blkcolo.storage.files.BlockFile`."""

    def __init__(self, machine: Machine, size: int = 0) -> None:
        super().__init__(size)
        self._machine = machine
        self._durable = bytes(size)
        self._durable_allocated: set[int] = set()
        self._unsynced: set[int] = set()

    def write(self, offset: int, *parts: memoryview | bytes | bytearray) -> None:
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        part = data[: self._machine.rng.randint(0, len(data))]
        try:
            dies = self._machine.burn()
        except OSError:
            self._put(offset, part)
            raise
        self._put(offset, part if dies else data)
        if dies:
            raise Crash

    def _put(self, offset: int, data: memoryview | bytes | bytearray) -> None:
        if not data:
            return
        self.put(offset, data)
        end = offset + len(data)
        self._unsynced.update(range(offset // SECTOR, -(-end // SECTOR)))

    def zero(self, offset: int, length: int, *, may_trim: bool) -> None:
        self._machine.die_in()
        self._put(offset, bytes(length))
        if may_trim:
            self.free(offset, length)

    def truncate(self, size: int) -> None:
        if self._machine.fuse is not None:
            self._machine.die_in()
        super().truncate(size)

    def sync(self) -> None:
        self._machine.die_in()
        self._durable = bytes(self.content)
        self._durable_allocated = set(self.allocated)
        self._unsynced.clear()

    def lose_power(self) -> None:
        """Each sector that was not synced is the old one or the new one."""
        rng, new = self._machine.rng, bytes(self.content)
        if len(new) != len(self._durable) and rng.random() < 0.5:
            del self.content[len(self._durable) :]
            self.content.extend(bytes(len(self._durable) - len(self.content)))
        for sector in sorted(self._unsynced):
            start = sector * SECTOR
            if start >= len(self.content) or rng.random() < 0.5:
                continue
            end = min(start + SECTOR, len(self.content))
            old = self._durable[start:end]
            self.content[start:end] = old + bytes(end - start - len(old))
        self.allocated |= self._durable_allocated
        self._durable, self._unsynced = bytes(self.content), set()
        self._durable_allocated = set(self.allocated)

    def close(self) -> None:
        pass


class SimFolder:
    """A folder; see `blkcolo.storage.files.Folder`."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._files: dict[str, SimFile] = {}
        self._history: list[dict[str, SimFile]] = []

    def everything(self) -> list[SimFile]:
        """All files that may still come back."""
        found = [self._files, *self._history]
        return list({id(f): f for files in found for f in files.values()}.values())

    def names(self) -> list[str]:
        return sorted(self._files)

    def open(self, name: str) -> SimFile:
        if name not in self._files:
            self._machine.die_in()
            self._history.append(dict(self._files))
            self._files[name] = SimFile(self._machine)
        return self._files[name]

    def remove(self, name: str) -> None:
        if name not in self._files:
            return
        if self._machine.fuse is not None:
            self._machine.die_in()
        self._history.append(dict(self._files))
        del self._files[name]

    def rename(self, old: str, new: str) -> None:
        self._machine.die_in()
        self._history.append(dict(self._files))
        self._files[new] = self._files.pop(old)
        self._history.clear()

    def sync(self) -> None:
        self._machine.die_in()
        self._history.clear()

    def lose_power(self) -> None:
        """The last changes that were not synced are undone."""
        keep = self._machine.rng.randint(0, len(self._history))
        if keep < len(self._history):
            self._files = dict(self._history[keep])
        self._history.clear()
