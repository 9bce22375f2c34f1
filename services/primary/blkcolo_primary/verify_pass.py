"""Compares both sides in stream order, while the VM writes on.

Reading an extent and putting its checksum into the stream is one step, so the
checksum stands behind every write that it includes and before every later one.
Holes travel as one extent without a checksum.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from blkcolo.stream import Verify, VerifyExtent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from blkcolo.files import BlockFile

#: Data compared by one checksum, in bytes.
EXTENT_BYTES = 1 << 20
#: A hole compared by one message, in bytes.
_HOLE_BYTES = 1 << 30


def verify_messages(
    disks: Sequence[BlockFile], sizes: Sequence[int]
) -> Iterator[Verify]:
    """Yields the messages of one pass; send each before asking for the next.

    Raises:
        OSError: a disk could not be read.
    """
    for volume, disk in enumerate(disks):
        at, size = 0, sizes[volume]
        while at < size:
            data = next(disk.data_extents(at, size - at), None)
            start = data.offset if data is not None else size
            if start > at:
                length = min(start - at, _HOLE_BYTES)
                extent = VerifyExtent(volume, at, length, b"")
            else:
                length = min(EXTENT_BYTES, size - at)
                content = bytearray(length)
                disk.read_into(at, memoryview(content))
                digest = hashlib.sha256(content).digest()
                extent = VerifyExtent(volume, at, length, digest)
            yield Verify((extent,))
            at += length
    yield Verify((), complete=True)
