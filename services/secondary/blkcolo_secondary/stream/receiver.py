"""One WriteForward stream as the secondary checks it: order, range, checksums.

A stream that misses a message, repeats one, leaves a volume or fails a checksum
cannot be trusted from there on: it raises, and the group is FAULTED until a new
stream has compared the contents (invariant I5: no lost write goes unnoticed).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from crc32c import crc32c

from blkcolo.errors import DataLoss, Invalid, Reason, Refused
from blkcolo.extents import check_extent
from blkcolo.stream import Batch, RecordKind, extend_digest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blkcolo.stream import Barrier, VolumeId

_KINDS = frozenset(RecordKind)
_DATA = int(RecordKind.DATA)
_NO_RECORDS = "it has no records"
_BAD_VOLUME = "a record names a volume that the hello did not"
_BAD_KIND = "a record is neither data nor zero nor trim"
_BAD_COLUMNS = "the columns differ in length"
_EARLY_REPAIRS = "it repairs, and the contents were not compared yet"
_BAD_PAYLOAD = "the payload is not as long as its records"


class SealedEpoch(NamedTuple):
    """An epoch whose barrier was applied: all its writes are on the disk."""

    epoch: int
    records: int
    seq: int


class Receiver:
    """The progress of one stream.

    Attributes:
        generation: the stream's generation.
        epoch: the epoch that the next write belongs to.
        received: the newest seq in memory.
        applied: the newest seq on the disk.
        durable: the newest seq that was made durable.
        verified: True when the resync is complete: the contents agree.
        sealed: the epochs that are prepared, oldest first.
    """

    def __init__(
        self, group: str, generation: int, volumes: Sequence[VolumeId], epoch: int
    ) -> None:
        """Starts behind the hello, which is seq 1."""
        self.group = group
        self.generation = generation
        self.epoch = self.first_epoch = epoch
        self.received = self.applied = 1
        self.durable = 0
        self.verified = False
        self.sealed: list[SealedEpoch] = []
        self._volumes = volumes
        self._records = 0
        self._digest = 0

    def receive(self, seq: int) -> None:
        """Takes a message into memory; raises DataLoss when it is not the next."""
        if seq != self.received + 1:
            raise DataLoss(
                Reason.SEQUENCE_GAP,
                f"group {self.group}: message {seq} came where {self.received + 1}"
                " was due; the primary must open a new stream",
                epoch=self.epoch,
            )
        self.received = seq

    def check_batch(self, batch: Batch) -> None:
        """Checks a batch that is about to be applied.

        Raises:
            Invalid: columns, volumes, extents or the epoch are wrong.
            DataLoss: columns do not match the digest, or data its checksum.
        """
        self._check_epoch(batch.epoch)
        self._check_columns(batch)
        if batch.repairs and not self.verified:
            raise self._malformed(_EARLY_REPAIRS)  # what differs may be a checkpoint's
        digest = extend_digest(self._digest, batch)
        if digest != batch.digest:
            raise DataLoss(
                Reason.DIGEST_MISMATCH,
                f"group {self.group}: batch {self.applied + 1} was damaged on the way,"
                " or one before it is missing; the primary must open a new stream",
                epoch=self.epoch,
            )
        self._check_extents(batch)
        self._check_data(batch)
        self._records += len(batch.kinds)
        self._digest = digest

    def _check_columns(self, batch: Batch) -> None:
        columns = (batch.volumes, batch.offsets, batch.lengths, batch.checksums)
        if any(len(column) != len(batch.kinds) for column in columns):
            raise self._malformed(_BAD_COLUMNS)
        if not batch.kinds:
            raise self._malformed(_NO_RECORDS)
        if not _KINDS.issuperset(batch.kinds):
            raise self._malformed(_BAD_KIND)
        if max(batch.volumes) >= len(self._volumes):
            raise self._malformed(_BAD_VOLUME)

    def _check_extents(self, batch: Batch) -> None:
        volumes = np.array(batch.volumes)
        offsets, lengths = (
            np.array(column, np.uint64) for column in (batch.offsets, batch.lengths)
        )
        sizes = np.array([volume.size for volume in self._volumes], np.uint64)[volumes]
        fits = (lengths > 0) & (lengths <= sizes) & (offsets <= sizes - lengths)
        if not fits.all():
            row = int(fits.argmin())
            volume = self._volumes[batch.volumes[row]]
            offset, length = batch.offsets[row], batch.lengths[row]
            check_extent(volume.name, volume.size, offset, length)

    def _check_data(self, batch: Batch) -> None:
        rows = zip(batch.kinds, batch.lengths, batch.checksums, strict=True)
        position, payload = 0, memoryview(batch.payload)
        for row, (kind, length, checksum) in enumerate(rows):
            if kind == _DATA:
                data = payload[position : position + length]
                position += length
                if crc32c(data) != checksum:
                    raise self._damaged(batch, row)
        if position != len(batch.payload):
            raise self._malformed(_BAD_PAYLOAD)

    def _damaged(self, batch: Batch, row: int) -> DataLoss:
        name, offset = self._volumes[batch.volumes[row]].name, batch.offsets[row]
        return DataLoss(
            Reason.CHECKSUM,
            f"volume {name}: data at {offset}+{batch.lengths[row]} does not"
            " match its CRC32C; the primary must open a new stream",
            name,
            offset,
            self.epoch,
        )

    def _malformed(self, what: str) -> Invalid:
        return Invalid(
            Reason.INVALID,
            f"group {self.group}: batch {self.applied + 1} is malformed: {what};"
            " run the same version on both sides",
            epoch=self.epoch,
        )

    def _check_epoch(self, epoch: int) -> None:
        if epoch != self.epoch:
            raise Invalid(
                Reason.EPOCH_GAP,
                f"group {self.group}: epoch {epoch} came where {self.epoch} was due",
                epoch=epoch,
            )

    def seal(self, barrier: Barrier, seq: int) -> None:
        """Ends the epoch at an applied barrier.

        Raises:
            Invalid: it is another epoch's.
            DataLoss: the epoch's records are not those that were sent.
        """
        self._check_epoch(barrier.epoch)
        if (barrier.records, barrier.digest) != (self._records, self._digest):
            raise DataLoss(
                Reason.DIGEST_MISMATCH,
                f"group {self.group}: epoch {self.epoch} has {self._records} records"
                f" (digest {self._digest:08x}) here, and {barrier.records}"
                f" ({barrier.digest:08x}) on the primary; it must open a new stream",
                epoch=self.epoch,
            )
        self.sealed.append(SealedEpoch(self.epoch, self._records, seq))
        self.epoch += 1
        self._records = self._digest = 0

    def prepared(self, epoch: int) -> SealedEpoch | None:
        """The epoch if it is sealed, and the contents are known to agree."""
        for sealed in self.sealed:
            if sealed.epoch == epoch and self.verified:
                return sealed
        return None

    def check_preparable(self, epoch: int, barrier_seq: int = 0) -> None:
        """Raises Refused unless the epoch's writes are only not all applied yet.

        Several barriers may be under way: a coordinator that was killed behind the
        primary's prepare leaves one, and its successor asks for the next.
        """
        under_way = epoch <= self.epoch or self.applied < barrier_seq
        if epoch < self.first_epoch or not under_way:
            raise Refused(
                Reason.EPOCH_GAP,
                f"group {self.group}: epoch {epoch} cannot be prepared,"
                f" {self.epoch} is the current one",
                epoch=epoch,
            )
        if epoch < self.epoch:
            raise Refused(
                Reason.RESYNCING,
                f"group {self.group}: epoch {epoch} cannot be prepared before the"
                " contents of both sides were compared; wait for that",
                epoch=epoch,
            )

    def forget(self, committed: int) -> None:
        """Drops what is committed from the list of sealed epochs."""
        self.sealed = [s for s in self.sealed if s.epoch > committed]
