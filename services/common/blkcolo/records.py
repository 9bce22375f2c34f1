"""The framing of every on-disk log: undo layers, overlay marks, the group journal.

A record is a 36-byte header and a payload, little-endian:

    magic "BCRC" | version u8 | kind u8 | volume u16 | a u64 | b u64
    | payload length u32 | payload CRC32C u32 | header CRC32C u32

`a` and `b` mean what the kind says (an offset and a length, an epoch and a
generation). A log that ends in the middle of a record was torn by a crash: the tail
never counted, and is cut. A bad record with a good one behind it is damage, and is
refused.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

import google_crc32c

from blkcolo.errors import DataLoss, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from blkcolo.files import BlockFile

MAGIC = b"BCRC"
VERSION = 1
_HEAD = struct.Struct("<4sBBHQQII")
_CRC = struct.Struct("<I")
HEADER_SIZE = _HEAD.size + _CRC.size
_SCAN_STEP = 1 << 20


class Record(NamedTuple):
    """One record as read back.

    `position` is where its payload starts in the file, in bytes.
    """

    kind: int
    volume: int
    a: int
    b: int
    position: int
    payload_length: int
    payload_crc: int

    @property
    def end(self) -> int:
        """The first byte behind the record."""
        return self.position + self.payload_length


def header(kind: int, volume: int, a: int, b: int, payload: bytes = b"") -> bytes:
    """Encodes the header that belongs before `payload`."""
    crc = google_crc32c.value(payload) if payload else 0
    head = _HEAD.pack(MAGIC, VERSION, kind, volume, a, b, len(payload), crc)
    return head + _CRC.pack(google_crc32c.value(head))


def decode(head: bytes, position: int) -> Record | None:
    """Decodes a header found at byte `position`; None if it is none."""
    if len(head) < HEADER_SIZE or head[:4] != MAGIC:
        return None
    if google_crc32c.value(head[: _HEAD.size]) != _CRC.unpack_from(head, _HEAD.size)[0]:
        return None
    _, version, kind, volume, a, b, length, crc = _HEAD.unpack_from(head)
    if version != VERSION:
        return None
    return Record(kind, volume, a, b, position + HEADER_SIZE, length, crc)


def read(file: BlockFile, offset: int, length: int) -> bytes:
    """Reads bytes of a log; fewer at its end."""
    buffer = bytearray(max(0, min(length, file.size - offset)))
    file.read_into(offset, memoryview(buffer))
    return bytes(buffer)


def scan(file: BlockFile, name: str) -> Iterator[Record]:
    """Yields the records of a log, and cuts a torn tail.

    Raises:
        DataLoss: the middle is damaged; names file and offset.
    """
    offset, size = 0, file.size
    while offset < size:
        record = decode(read(file, offset, HEADER_SIZE), offset)
        if record is None or not _intact(file, record, size):
            _cut_torn_tail(file, name, offset)
            return
        yield record
        offset = record.end


def _intact(file: BlockFile, record: Record, size: int) -> bool:
    if record.end > size:
        return False
    payload = read(file, record.position, record.payload_length)
    return not payload or google_crc32c.value(payload) == record.payload_crc


def _cut_torn_tail(file: BlockFile, name: str, offset: int) -> None:
    """Cuts at `offset` unless an intact record follows somewhere behind it."""
    size = file.size
    start = offset + 1
    while start < size:
        window = read(file, start, _SCAN_STEP + HEADER_SIZE)
        found = window.find(MAGIC)
        while found >= 0:
            record = decode(window[found : found + HEADER_SIZE], start + found)
            if record is not None and _intact(file, record, size):
                raise DataLoss(
                    Reason.DISK_ERROR,
                    f"{name}: damaged at byte {offset}, intact again at"
                    f" {start + found}; restore the file, or move the group's"
                    " folder away and copy the disk anew",
                    offset=offset,
                )
            found = window.find(MAGIC, found + 1)
        start += _SCAN_STEP
    file.truncate(offset)
