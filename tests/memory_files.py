"""Files in memory behind the `files` port, for tests of the cores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blkcolo.extents import BLOCK_SIZE, Extent

if TYPE_CHECKING:
    from collections.abc import Iterator


class SparseBytes:
    """Bytes that know which of their blocks were ever written."""

    def __init__(self, size: int = 0) -> None:
        self.content = bytearray(size)
        self.allocated: set[int] = set()

    @property
    def size(self) -> int:
        return len(self.content)

    def read_into(self, offset: int, target: memoryview) -> None:
        found = self.content[offset : offset + len(target)]
        target[: len(found)] = found
        target[len(found) :] = bytes(len(target) - len(found))

    def put(self, offset: int, data: memoryview | bytes | bytearray) -> None:
        end = offset + len(data)
        if end > len(self.content):
            self.content.extend(bytes(end - len(self.content)))
        self.content[offset:end] = data
        self.allocated.update(range(offset // BLOCK_SIZE, -(-end // BLOCK_SIZE)))

    def free(self, offset: int, length: int) -> None:
        """Makes holes of the whole blocks in there."""
        first, end = -(-offset // BLOCK_SIZE), (offset + length) // BLOCK_SIZE
        self.allocated.difference_update(range(first, end))

    def data_extents(self, offset: int, length: int) -> Iterator[Extent]:
        end = offset + length
        while offset < end:
            stop = min((offset // BLOCK_SIZE + 1) * BLOCK_SIZE, end)
            if offset // BLOCK_SIZE in self.allocated:
                yield Extent(offset, stop - offset)
            offset = stop

    def truncate(self, size: int) -> None:
        del self.content[size:]
        self.content.extend(bytes(size - len(self.content)))


class MemoryFile(SparseBytes):
    """A file that counts its syncs, and refuses writes where a test says so."""

    def __init__(self, size: int = 0) -> None:
        super().__init__(size)
        self.syncs = 0
        self.fail_writes: OSError | None = None

    def write(self, offset: int, *parts: memoryview | bytes | bytearray) -> None:
        if self.fail_writes is not None:
            raise self.fail_writes
        self.put(offset, b"".join(parts))

    def zero(self, offset: int, length: int, *, may_trim: bool) -> None:
        self.write(offset, bytes(length))
        if may_trim:
            self.free(offset, length)

    def sync(self) -> None:
        self.syncs += 1

    def close(self) -> None:
        pass


class MemoryFolder:
    """A folder of memory files; it outlives the cores that use it."""

    def __init__(self) -> None:
        self.files: dict[str, MemoryFile] = {}

    def names(self) -> list[str]:
        return sorted(self.files)

    def open(self, name: str) -> MemoryFile:
        return self.files.setdefault(name, MemoryFile())

    def remove(self, name: str) -> None:
        self.files.pop(name, None)

    def sync(self) -> None:
        pass

    def rename(self, old: str, new: str) -> None:
        self.files[new] = self.files.pop(old)
