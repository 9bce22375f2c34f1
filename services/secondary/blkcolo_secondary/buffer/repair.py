"""A repair: what a verify found to differ is put right, and nothing is saved of it.

Both sides had agreed, every write since came in this stream, and yet a block here is
another one: it has rotted. What rotted is no checkpoint's content, so it must not get
into a layer. What the primary sends is its block at this point of the stream, with
every write up to here in it. So, of a checkpoint k:

  no layer above k has the block   the VM has not written it since: what is sent is its
                                   content in C(k), and the disk holds that from here on
  a layer above k has it           that layer says what it was in C(k): the repair
                                   changes nothing about k

But a layer is right only if the block had not rotted before it was saved there, and
nobody can tell. So where a layer above the base has a block that is wrong now, the
repair is done, and refused behind it: that ends the stream, and with it the
protection, until the next stream's checkpoint drops the layer.

Crash cases:
  in the middle of a repair    the block is partly right, and marked on the primary:
                               the next stream's resync sends it again
  power is lost behind it      the same: the mark goes behind the sync of a commit

Not seen: a block that rotted, and that the VM overwrote as a whole before it was
compared, is right on the disk again, and its layer holds what was found, until the
next checkpoint.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyroaring import BitMap

from blkcolo.errors import DataLoss, Reason, translated
from blkcolo.extents import BLOCK_SIZE, Extent, covering
from blkcolo.stream import RecordKind
from blkcolo_secondary.buffer.save_and_write import SaveAndWrite, steps

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from blkcolo.storage.files import BlockFile
    from blkcolo.stream import Batch, VolumeId
    from blkcolo_secondary.buffer.save_and_write import Columns


def repair_steps(
    batch: Batch,
    disks: Sequence[BlockFile],
    volumes: Sequence[VolumeId],
    saved: Sequence[BitMap],
) -> Iterator[None]:
    """Writes a batch of repairs, in steps.

    Args:
        batch: the batch.
        disks: the group's disks.
        volumes: its volumes.
        saved: the blocks of each volume that layers above the base hold.

    Raises:
        DataLoss: reading or writing failed; or all is done, and a layer may hold what
            rotted.
        Exhausted: no space.
    """
    payload, doubtful = memoryview(batch.payload), [BitMap() for _ in volumes]
    for records in steps(batch):
        for volume, wrong in _wrong_blocks(records, payload, disks, volumes):
            doubtful[volume] |= wrong & saved[volume]
        SaveAndWrite(disks, volumes, payload, records).write()
        yield None
    for identity, blocks in zip(volumes, doubtful, strict=True):
        if blocks:
            raise _in_doubt(identity.name, blocks.min() * BLOCK_SIZE, batch.epoch)


def _in_doubt(name: str, offset: int, epoch: int) -> DataLoss:
    return DataLoss(
        Reason.DISK_ERROR,
        f"volume {name}: the block at {offset} had changed by itself on the secondary's"
        " disk; it is mended, but an undo layer may have saved it like that: the next"
        " checkpoint protects again; look at that disk",
        name,
        offset,
        epoch,
    )


def _wrong_blocks(
    records: Columns,
    payload: memoryview,
    disks: Sequence[BlockFile],
    volumes: Sequence[VolumeId],
) -> Iterator[tuple[int, BitMap]]:
    """The blocks, by record, that do not hold what is about to be written."""
    rows = zip(*(column.tolist() for column in records), strict=True)
    for kind, volume, offset, length, position in rows:
        is_data = kind == RecordKind.DATA
        right = payload[position : position + length] if is_data else None
        with translated("reading the disk", volumes[volume].name, offset):
            yield volume, _differing(disks[volume], Extent(offset, length), right)


def _differing(disk: BlockFile, extent: Extent, right: memoryview | None) -> BitMap:
    """The blocks of an extent that hold anything but `right`; None: zeros."""
    held = [extent] if right is not None else disk.data_extents(*extent)
    differing = BitMap()
    for offset, length in held:
        old = memoryview(bytearray(length))
        disk.read_into(offset, old)
        for block in range(*covering(offset, length)):
            start = max(block * BLOCK_SIZE - offset, 0)
            end = min((block + 1) * BLOCK_SIZE - offset, length)
            same = right[start:end] if right is not None else bytes(end - start)
            if old[start:end] != same:
                differing.add(block)
    return differing
