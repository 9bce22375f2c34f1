"""What a disk must offer to be served over NBD.

The server calls an export from the event loop's thread, one call at a time, in the
order in which requests arrive; so exports need no locks, and the order of calls is
the order of writes. A call either finishes before it returns (returns None) or
returns a Future; the server replies when that is done and goes on with other
requests meanwhile. Data views are valid only during the call.

Every failure is an OSError; the server puts its errno on the wire (EPERM, EIO,
ENOMEM, EINVAL, ENOSPC, EOVERFLOW, ENOTSUP, ESHUTDOWN; anything else becomes EIO).
Bounds and read-only are checked by the server before an export is called.
"""

from __future__ import annotations

import enum
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable, Sequence

    from blkcolo.extents import Extent

#: An answer describes so many pieces of data at most; clients ask on. Keeps a badly
#: fragmented disk from holding up the event loop.
_MAX_DATA_EXTENTS = 4096


class Allocation(enum.IntFlag):
    """State flags of the base:allocation metadata context (NBD proto.md)."""

    DATA = 0
    HOLE = 1
    ZERO = 2


_ZERO = Allocation.HOLE | Allocation.ZERO


#: Takes the offsets and the data of writes of one length, none with FUA, none admitted
#: yet. Returns how many, from the first on, are done, and need no wait. The next is
#: handed over by `admit` and `write`, which say what is the matter with it.
WriteEach: TypeAlias = "Callable[[Sequence[int], Sequence[memoryview]], int]"


class AllocationExtent(NamedTuple):
    """A length in bytes and what is known of it."""

    length: int
    flags: Allocation


def allocation_of(
    data: Iterable[Extent], offset: int, length: int
) -> list[AllocationExtent]:
    """Describes an extent of a sparse disk: what is not data is a hole.

    Args:
        data: the disk's data in it, in order.
        offset: first byte.
        length: number of bytes.
    """
    extents: list[AllocationExtent] = []
    at = offset
    for number, found in enumerate(islice(data, _MAX_DATA_EXTENTS), 1):
        if found.offset > at:
            extents.append(AllocationExtent(found.offset - at, _ZERO))
        extents.append(AllocationExtent(found.length, Allocation.DATA))
        at = found.end
        if number == _MAX_DATA_EXTENTS:
            return extents
    if at < offset + length:
        extents.append(AllocationExtent(offset + length - at, _ZERO))
    return extents


class Export(Protocol):
    """One disk under one name.

    Attributes are fixed for the life of the export, except `read_only` and
    `size`, which hold for connections that negotiate after the change.
    """

    @property
    def name(self) -> str:
        """The export's name."""
        ...

    @property
    def description(self) -> str:
        """A sentence for people (NBD_INFO_DESCRIPTION)."""
        ...

    @property
    def size(self) -> int:
        """The size in bytes, of any alignment."""
        ...

    @property
    def read_only(self) -> bool:
        """True if writes are refused with EPERM."""
        ...

    def opened(self) -> None:
        """A client chose the export."""
        ...

    def closed(self) -> None:
        """A client that had chosen it is gone."""
        ...

    def admit(self, offset: int, length: int) -> asyncio.Future[None] | None:
        """Flow control: None to go on, or a Future that ends when writes may.

        The server asks before it hands over a write, zero or trim, and stops
        reading from the connection until the Future is done. So memory stays
        bounded however slow the other side is.
        """
        ...

    def read_into(self, offset: int, target: memoryview) -> None:
        """Fills `target` from byte `offset`."""
        ...

    def write(
        self, offset: int, data: memoryview, *, fua: bool
    ) -> asyncio.Future[None] | None:
        """Writes `data` at byte `offset`; with `fua`, durable when done."""
        ...

    @property
    def write_each(self) -> WriteEach | None:
        """Takes writes that came together; None: each goes by `admit` and `write`."""
        ...

    def zero(
        self, offset: int, length: int, *, may_trim: bool, fast: bool, fua: bool
    ) -> asyncio.Future[None] | None:
        """Makes the extent read as zeros, of any length up to the size.

        Args:
            offset: first byte.
            length: number of bytes.
            may_trim: freeing the space is allowed (no NBD_CMD_FLAG_NO_HOLE).
            fast: fail with ENOTSUP if it is no faster than writing.
            fua: durable when done.
        """
        ...

    def trim(
        self, offset: int, length: int, *, fua: bool
    ) -> asyncio.Future[None] | None:
        """Frees the extent; it reads as zeros afterwards."""
        ...

    def flush(self) -> asyncio.Future[None] | None:
        """Makes every write that was answered before durable."""
        ...

    def allocation(self, offset: int, length: int) -> list[AllocationExtent]:
        """Describes the extent, from `offset`; lengths sum to `length` at most.

        At least one extent, each longer than 0; the last may end early or late
        (the server cuts).
        """
        ...
