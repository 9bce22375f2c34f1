"""The framing of every on-disk log: undo layers, overlay marks, the group journal.

A record is a 36-byte header and a payload, little-endian:

    magic "BCRC" | version u8 | kind u8 | volume u16 | a u64 | b u64
    | payload length u32 | payload CRC32C u32 | header CRC32C u32

`a` and `b` mean what the kind says (an offset and a length, an epoch and a
generation); kinds start at 1. A log that ends in the middle of a record was torn by a
crash: the tail never counted, and is cut. A bad record with a good one behind it is
damage, and is refused; see `RecordLog` for what power loss changes.
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
_WATERMARK = 0


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


class RecordLog:
    """An append-only file of records; every one of the project's logs.

    With `host`, what lies behind the last `sync` may come back from power loss in any
    mixture of old and new pages. So the first append after a sync is led by a
    watermark, a record of kind 0 whose `a` says up to where the file was durable:
    only a bad record below a watermark is damage, anything above it never counted.
    Without `host` the page cache is trusted, and any good record behind a bad one
    proves damage.
    """

    def __init__(self, file: BlockFile, name: str, *, host: bool = False) -> None:
        """Takes an empty file; `load` reads one that is not.

        Args:
            file: the log; owned from here on.
            name: its name, for errors.
            host: power loss is to be survived.
        """
        self.end = 0
        self._file = file
        self._name = name
        self._host = host
        self._synced = 0
        self._led = 0

    def load(self) -> Iterator[Record]:
        """Yields the records, and cuts a tail that never counted.

        Raises:
            DataLoss: the middle is damaged; names file and offset.
        """
        offset, size = 0, self._file.size
        while offset < size:
            record = decode(self._read(offset, HEADER_SIZE), offset)
            if record is None or not self._intact(record, size):
                self._cut(offset)
                break
            if record.kind != _WATERMARK:
                yield record
            offset = self.end = record.end
        self._synced = self._led = self.end if self._host else 0

    def _read(self, offset: int, length: int) -> bytes:
        buffer = bytearray(max(0, min(length, self._file.size - offset)))
        self._file.read_into(offset, memoryview(buffer))
        return bytes(buffer)

    def payload(self, record: Record) -> bytes:
        """Reads a record's payload."""
        return self._read(record.position, record.payload_length)

    def read_into(self, offset: int, target: memoryview) -> None:
        """Reads bytes of the file."""
        self._file.read_into(offset, target)

    def _intact(self, record: Record, size: int) -> bool:
        if record.end > size:
            return False
        payload = self.payload(record)
        return not payload or google_crc32c.value(payload) == record.payload_crc

    def _cut(self, offset: int) -> None:
        """Cuts at `offset`, unless something behind it proves that it counted."""
        proof = self._proof_of_damage(offset)
        if proof is not None:
            raise DataLoss(
                Reason.DISK_ERROR,
                f"{self._name}: damaged at byte {offset}, intact again at"
                f" {proof}; restore the file, or move the group's folder away and"
                " copy the disk anew",
                offset=offset,
            )
        self._file.truncate(offset)

    def _proof_of_damage(self, offset: int) -> int | None:
        """Where a good record behind a bad one lies, if it proves damage."""
        size, start = self._file.size, offset + 1
        while start < size:
            window = self._read(start, _SCAN_STEP + HEADER_SIZE)
            found = window.find(MAGIC)
            while found >= 0:
                at = start + found
                record = decode(window[found : found + HEADER_SIZE], at)
                if record is not None and self._intact(record, size):
                    above = record.kind == _WATERMARK and record.a > offset
                    if above or not self._host:
                        return at
                found = window.find(MAGIC, found + 1)
            start += _SCAN_STEP
        return None

    def lead(self) -> bytes:
        """What must stand before the next append: a watermark, or nothing."""
        if self._led == self._synced:
            return b""
        return header(_WATERMARK, 0, self._synced, 0)

    def append(self, data: bytes | bytearray) -> None:
        """Appends records that begin with what `lead` said.

        Raises:
            OSError: nothing was added.
        """
        try:
            self._file.write(self.end, data)
        except OSError:
            self._file.truncate(self.end)  # no half record may stay behind
            raise
        self.end += len(data)
        self._led = self._synced

    def add(self, kind: int, a: int, b: int, payload: bytes = b"") -> None:
        """Appends one record; raises OSError, and then nothing was added."""
        self.append(self.lead() + header(kind, 0, a, b, payload) + payload)

    def sync(self) -> None:
        """Makes durable what was appended before; any thread; raises OSError."""
        end = self.end
        self._file.sync()
        if self._host:
            self._synced = end

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
