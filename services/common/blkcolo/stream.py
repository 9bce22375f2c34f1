"""The messages of a WriteForward stream as plain values, and their digest.

The cores speak these; `rpc.stream_on_wire` turns them into protobuf and back.
"""

from __future__ import annotations

import enum
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from crc32c import crc32c

if TYPE_CHECKING:
    from blkcolo.errors import BlkcoloError
    from blkcolo.extents import Extent

#: A batch is at most 1 MiB plus its columns; anything near this is no batch of ours.
MESSAGE_LIMIT = 8 << 20
#: Both sides MUST speak the same one.
PROTOCOL_VERSION = 2
#: What tells a batch of repairs from one of writes in its digest.
_REPAIRS = b"repairs"


class RecordKind(enum.IntEnum):
    """What a record does; the numbers are those of blkcolo.v1.RecordKind."""

    DATA = 1
    ZERO = 2
    TRIM = 3


@dataclass(frozen=True, slots=True)
class VolumeId:
    """One volume as both sides must know it; the size is in bytes."""

    name: str
    uuid: str
    size: int


@dataclass(frozen=True, slots=True)
class Hello:
    """Opens a stream. Records name volumes by their index in `volumes`."""

    group: str
    generation: int
    volumes: tuple[VolumeId, ...]
    protocol_version: int = PROTOCOL_VERSION
    discard_secondary: bool = False
    #: The newest epoch of the group that the primary knows; 0: none.
    epoch: int = 0


@dataclass(slots=True)
class Batch:
    """Writes in order, as columns; record i is the i-th of each.

    Offsets and lengths are in bytes, checksums are CRC32C (0 for zero and trim),
    the payload is the data of all DATA records one after the other. `digest` is that of
    the epoch up to this batch (`extend_digest`). `repairs`: the records are no writes
    of the VM; they put right what a verify found to differ.
    """

    epoch: int
    kinds: list[int] = field(default_factory=list)
    volumes: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    checksums: list[int] = field(default_factory=list)
    payload: bytes | memoryview = b""
    digest: int = 0
    repairs: bool = False


@dataclass(frozen=True, slots=True)
class Barrier:
    """Ends an epoch, with the number of its records and their digest."""

    epoch: int
    records: int
    digest: int


class VerifyExtent(NamedTuple):
    """An extent and the SHA-256 of its bytes; empty if all are zero."""

    volume: int
    offset: int
    length: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Verify:
    """Extents to compare; `complete` on the last of a pass."""

    extents: tuple[VerifyExtent, ...]
    complete: bool = False


@dataclass(frozen=True, slots=True)
class Flush:
    """Asks for durability of all that came before."""


#: From the primary.
Request = Hello | Batch | Barrier | Verify | Flush


class Ahead(NamedTuple):
    """Where a demoted primary may differ from a checkpoint of the copy `replica_id`.

    Extents by volume, in order.
    """

    replica_id: str
    extents: tuple[tuple[Extent, ...], ...]


@dataclass(frozen=True, slots=True)
class Welcome:
    """Answers a hello: where the secondary stands, and the epoch to start in.

    `replica_id` names this copy of the volumes: one that was made anew has another.
    While its `incarnation` stays the same, what was applied once is still there.
    `ahead` is there until the first checkpoint of a copy that was a primary's disk.
    """

    generation: int
    committed: int | None
    epoch: int
    replica_id: str
    incarnation: int = 0
    ahead: Ahead | None = None


@dataclass(frozen=True, slots=True)
class Ack:
    """Cumulative progress, in seq; `buffer_full` asks to hold VM writes up."""

    received: int
    applied: int
    durable: int
    buffer_full: bool = False


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Extents that differ, as they were sent."""

    extents: tuple[VerifyExtent, ...]


@dataclass(frozen=True, slots=True)
class StreamFailure:
    """The secondary cannot go on."""

    error: BlkcoloError


#: From the secondary.
Response = Welcome | Ack | Mismatch | StreamFailure


def extend_digest(digest: int, batch: Batch) -> int:
    """Adds a batch's columns to the running digest (CRC32C) of its epoch."""
    columns = (
        array("B", batch.kinds),
        array("H", batch.volumes),
        array("Q", batch.offsets),
        array("Q", batch.lengths),
        array("L", batch.checksums),
    )
    mark = _REPAIRS if batch.repairs else b""
    return crc32c(b"".join((*(c.tobytes() for c in columns), mark)), digest)
