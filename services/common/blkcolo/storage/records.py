"""The framing of every on-disk log: undo layers, overlay marks, the group journal.

A record is a 36-byte header and a payload, little-endian:

    magic "BCRC" | version u8 | kind u8 | volume u16 | a u64 | b u64
    | payload length u32 | payload CRC32C u32 | header CRC32C u32

`a` and `b` mean what the kind says (an offset and a length, an epoch and a
generation); kinds start at 1. A log is only ever appended to, so what a crash leaves
of its last append is a prefix: a torn tail, which never counted, and is cut. Anything
else that cannot be read is damage, and is refused, the last record included: where
old content of the disk is lost, no view is to be had. See `RecordLog` for what power
loss changes.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, NamedTuple

from crc32c import crc32c

from blkcolo.errors import DataLoss, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from blkcolo.storage.files import BlockFile

    #: Told a log's name, the bytes read, and its size.
    Progress = Callable[[str, int, int], None]

MAGIC = b"BCRC"
VERSION = 1
_HEAD = struct.Struct("<4sBBHQQII")
_CRC = struct.Struct("<I")
HEADER_SIZE = _HEAD.size + _CRC.size
_WINDOW = 1 << 20
_WATERMARK = 0
_WATERMARK_START = MAGIC + bytes((VERSION, _WATERMARK))


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


def header(
    kind: int, volume: int, a: int, b: int, *payload: bytes | memoryview
) -> bytes:
    """Encodes the header that belongs before the payload, which is in any parts."""
    crc, length = 0, sum(map(len, payload))
    for part in payload:
        crc = crc32c(part, crc)
    head = _HEAD.pack(MAGIC, VERSION, kind, volume, a, b, length, crc)
    return head + _CRC.pack(crc32c(head))


def decode(data: bytes, at: int, position: int) -> Record | None:
    """Decodes the header at `data[at]`, byte `position` of the file.

    None if there is no intact header of this version.
    """
    if len(data) - at < HEADER_SIZE or data[at : at + 4] != MAGIC:
        return None
    crc = _CRC.unpack_from(data, at + _HEAD.size)[0]
    if crc32c(data[at : at + _HEAD.size]) != crc:
        return None
    _, version, kind, volume, a, b, length, crc = _HEAD.unpack_from(data, at)
    if version != VERSION:
        return None
    return Record(kind, volume, a, b, position + HEADER_SIZE, length, crc)


def other_version(data: bytes, at: int) -> int | None:
    """The version of an intact header that another program version has written."""
    head = data[at : at + _HEAD.size]
    if len(data) - at < HEADER_SIZE or head[:4] != MAGIC or head[4] == VERSION:
        return None
    crc = _CRC.unpack_from(data, at + _HEAD.size)[0]
    return head[4] if crc32c(head) == crc else None


def check(file: BlockFile, name: str, offset: int, length: int, end: int) -> int:
    """Reads records back and compares their checksums; any thread.

    Args:
        file: the log.
        name: its name, for errors.
        offset: where a record begins.
        length: read at most so many bytes, or one record.
        end: up to where the log was written.

    Returns:
        Where the next record begins.

    Raises:
        DataLoss: a record is not what was appended; names the offset.
        OSError: the file cannot be read.
    """
    length = min(max(length, HEADER_SIZE), end - offset)
    start, window = offset, _read(file, offset, length)
    while offset < end:
        record = decode(window, offset - start, offset)
        beyond = offset + HEADER_SIZE if record is None else record.end
        if beyond > start + len(window) and offset > start:
            break
        if record is None or record.end > end:
            raise damage(name, offset, "its header is not what was written")
        if beyond > start + len(window):
            window = _read(file, offset, record.end - offset)
        payload = window[record.position - start : record.end - start]
        if payload and crc32c(payload) != record.payload_crc:
            raise damage(name, offset, "its payload is not what was written")
        offset = record.end
    return offset


def _read(file: BlockFile, offset: int, length: int) -> bytes:
    buffer = bytearray(max(0, min(length, file.size - offset)))
    file.read_into(offset, memoryview(buffer))
    return bytes(buffer)


def damage(name: str, offset: int, why: str) -> DataLoss:
    """The refusal to go on with what is written at `offset` of a log."""
    return DataLoss(
        Reason.DISK_ERROR, f"{name} is damaged at byte {offset}: {why}", offset=offset
    )


class RecordLog:
    """An append-only file of records; every one of the project's logs.

    With `host`, what lies behind the last `sync` may come back from power loss in any
    mixture of old and new pages. So the first append after a sync is led by a
    watermark, a record of kind 0 whose `a` says up to where the file was durable, and
    whose `b` says where it lies itself: a bad record below such a watermark is damage,
    anything else never counted, and is cut. Without `host` the page cache is trusted.

    A log whose sync or repair failed takes nothing more: Linux reports a lost page
    once, and the next sync would succeed without it.
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
        self._broken: OSError | None = None
        #: The byte from which on the file may not hold what was appended.
        self.lost_from: int | None = None

    def load(self, progress: Progress | None = None) -> Iterator[Record]:
        """Yields the records, and cuts a tail that never counted.

        Args:
            progress: told how many bytes of how many are read, now and then.

        Raises:
            DataLoss: the file is damaged; names it and the offset.
        """
        size, window, start, offset = self._file.size, b"", 0, 0
        while offset < size:
            if offset + HEADER_SIZE > start + len(window):
                window, start = self._read(offset, _WINDOW), offset
                if progress is not None:
                    progress(self._name, offset, size)
            record = decode(window, offset - start, offset)
            if record is None:
                self._check_version(other_version(window, offset - start), offset)
            if record is None or record.end > size:
                self._cut(
                    offset, torn=size - offset < HEADER_SIZE or record is not None
                )
                break
            if record.end > start + len(window):
                window = self._read(offset, max(_WINDOW, record.end - offset))
                start = offset
            payload = window[record.position - start : record.end - start]
            if payload and crc32c(payload) != record.payload_crc:
                self._cut(offset, torn=False)
                break
            if record.kind != _WATERMARK:
                yield record
            offset = self.end = record.end
        self._synced = self._led = self.end if self._host else 0

    def _read(self, offset: int, length: int) -> bytes:
        return _read(self._file, offset, length)

    def payload(self, record: Record) -> bytes:
        """Reads a record's payload."""
        return self._read(record.position, record.payload_length)

    def read_into(self, offset: int, target: memoryview) -> None:
        """Reads bytes of the file."""
        self._file.read_into(offset, target)

    def _check_version(self, found: int | None, offset: int) -> None:
        """What another version wrote is neither damage nor a torn tail."""
        if found is not None:
            raise DataLoss(
                Reason.PROTOCOL_VERSION,
                f"{self._name} has records of version {found} at byte {offset}, this"
                f" program knows {VERSION}: run the program version that wrote it",
                offset=offset,
            )

    def _cut(self, offset: int, *, torn: bool) -> None:
        """Cuts what begins at `offset`, unless it counted."""
        if not self._host and not torn:
            raise self.damage(offset, "it is no intact record, nor the start of one")
        if self._host:
            watermark = self._watermark_above(offset)
            if watermark is not None:
                why = f"it was durable before byte {watermark} was written"
                raise self.damage(offset, why)
        self._file.truncate(offset)

    def damage(self, offset: int, why: str) -> DataLoss:
        """The refusal to go on with what is written at `offset`."""
        return damage(self._name, offset, why)

    def _watermark_above(self, offset: int) -> int | None:
        """Where a watermark lies that says that `offset` was durable."""
        size, start = self._file.size, offset + 1
        while start < size:
            window = self._read(start, _WINDOW + HEADER_SIZE)
            found = window.find(MAGIC)
            while found >= 0:
                at = start + found
                record = decode(window, found, at)
                if (
                    record is not None
                    and record.kind == _WATERMARK
                    and record.a > offset
                    and record.b == at  # no copy of another log within a payload
                ):
                    return at
                found = window.find(MAGIC, found + 1)
            start += _WINDOW
        return None

    def lead(self) -> bytes:
        """What must stand before the next append: a watermark, or nothing."""
        if self._led == self._synced:
            return b""
        return header(_WATERMARK, 0, self._synced, self.end)

    def append(self, *parts: bytes | bytearray | memoryview) -> None:
        """Appends records in any parts; the first begins with what `lead` said.

        Raises:
            OSError: nothing was added.
        """
        self._check()
        try:
            self._file.write(self.end, *parts)
        except OSError:
            self._repair()
            raise
        self.end += sum(map(len, parts))
        if parts[0][: len(_WATERMARK_START)] == _WATERMARK_START:
            self._led = _HEAD.unpack_from(parts[0])[4]

    def _check(self) -> None:
        if self._broken is not None:
            number = self._broken.errno or errno.EIO
            text = f"{self._name} takes nothing more, since it failed: {self._broken}"
            raise OSError(number, text) from self._broken

    def _repair(self) -> None:
        """No part of a failed append may stay behind."""
        try:
            self._file.truncate(self.end)
        except OSError as error:
            self._failed(error, self.end)

    def _failed(self, error: OSError, lost_from: int) -> None:
        known = lost_from if self.lost_from is None else self.lost_from
        self._broken, self.lost_from = error, min(known, lost_from)

    def add(self, kind: int, a: int, b: int, payload: bytes = b"") -> None:
        """Appends one record; raises OSError, and then nothing was added."""
        self.append(self.lead() + header(kind, 0, a, b, payload) + payload)

    def sync(self) -> None:
        """Makes durable what was appended before; any thread; raises OSError."""
        self._check()
        end = self.end
        try:
            self._file.sync()
        except OSError as error:
            self._failed(error, self._synced)
            raise
        if self._host:
            self._synced = max(self._synced, end)

    @property
    def durable(self) -> bool:
        """True if all that was appended survives what it is to survive."""
        return not self._host or self._synced >= self.end

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
