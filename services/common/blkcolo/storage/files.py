"""What the cores need of files: the port behind which disks and logs live.

The real thing is `posix_files`; tests and simulations bring files of their own
that fail, tear and forget on purpose. All calls are synchronous and raise OSError.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from blkcolo.extents import Extent


class BlockFile(Protocol):
    """A file of bytes at offsets: a disk image, a log or an overlay."""

    @property
    def size(self) -> int:
        """Its size in bytes."""
        ...

    def read_into(self, offset: int, target: memoryview) -> None:
        """Fills `target` from byte `offset`; what lies behind the end reads as 0."""
        ...

    def write(self, offset: int, *parts: memoryview | bytes | bytearray) -> None:
        """Writes the parts, one behind the other; grows the file if need be."""
        ...

    def zero(self, offset: int, length: int, *, may_trim: bool) -> None:
        """Makes the extent read as zeros; with `may_trim` its space is freed."""
        ...

    def data_extents(self, offset: int, length: int) -> Iterator[Extent]:
        """The parts of the extent that are not holes, in order."""
        ...

    def truncate(self, size: int) -> None:
        """Cuts or extends the file to `size` bytes."""
        ...

    def sync(self) -> None:
        """Makes all written data durable (fdatasync)."""
        ...

    def close(self) -> None:
        """Closes the file; nothing else may be called afterwards."""
        ...


class Folder(Protocol):
    """A folder of files that belong together."""

    def names(self) -> list[str]:
        """The names of the files in it, sorted."""
        ...

    def open(self, name: str) -> BlockFile:
        """Opens a file for reading and writing, creates it if it is not there."""
        ...

    def remove(self, name: str) -> None:
        """Removes a file; it is no error if it is not there."""
        ...

    def sync(self) -> None:
        """Makes creations and removals durable."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Replaces `new` by `old`, durably and in one step."""
        ...
