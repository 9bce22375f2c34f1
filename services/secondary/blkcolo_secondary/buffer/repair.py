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
nobody can tell. So of a layer that has a block that is wrong now, a `Doubt` is told
before the block is written: kept checkpoints that rest on the layer are given up
(`core.doubt`). Where the layer is above the base, the base itself rests on it: there
the repair is done, and refused behind it. That ends the stream, and with it the
protection, until the next stream's checkpoint drops the layer, and the base with it.

The same where the overlay has the block: it was filled up from the view where the
Secondary VM wrote a part of it, and does not know which part. The next checkpoint drops
the overlay.

Crash cases:
  in the middle of a repair    the block is partly right, and marked on the primary:
                               the next stream's resync sends it again
  power is lost behind it      the same: the mark goes behind the sync of a commit

Not seen, and saved as any old content, in one layer: a block that rotted and that is
overwritten before its repair comes. That is a VM's write of the whole block, or the
resync of the next stream, where the stream was lost between the finding and the repair.
The disk is right then. The layer shows what rotted in the checkpoint before it, until
that is dropped: by the next commit, or, where it is kept, with the history.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pyroaring import BitMap

from blkcolo.errors import DataLoss, Reason, translated
from blkcolo.extents import BLOCK_SIZE, Extent, covering
from blkcolo.stream import RecordKind
from blkcolo_secondary.buffer.save_and_write import SaveAndWrite, steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from blkcolo.storage.files import BlockFile
    from blkcolo.stream import Batch, VolumeId
    from blkcolo_secondary.buffer.save_and_write import Columns


class Doubt(NamedTuple):
    """An effect: what rests on an epoch's undo layer may be wrong.

    It is to be recorded at once: the next step overwrites what it was seen by.
    """

    epoch: int


class Holders(NamedTuple):
    """What else may hold blocks that rotted.

    Attributes:
        kept: the newest layer at or below the base that has one; None: none has.
        above: the newest one above the base.
        overlay: the overlay has one.
    """

    kept: int | None
    above: int | None
    overlay: bool


def repair_steps(
    batch: Batch,
    disks: Sequence[BlockFile],
    volumes: Sequence[VolumeId],
    holders: Callable[[int, BitMap], Holders],
) -> Iterator[Doubt | None]:
    """Writes a batch of repairs, in steps.

    Args:
        batch: the batch.
        disks: the group's disks.
        volumes: its volumes.
        holders: what else may hold some blocks of a volume.

    Raises:
        DataLoss: reading or writing failed; or all is done, and what a failover would
            bring back may hold what rotted.
        Exhausted: no space.
    """
    payload, refused = memoryview(batch.payload), None
    for records in steps(batch):
        for volume, wrong in _wrong_blocks(records, payload, disks, volumes):
            found = holders(volume, wrong)
            for epoch in (found.kept, found.above):
                if epoch is not None:
                    yield Doubt(epoch)
            if refused is None and (found.above is not None or found.overlay):
                offset = wrong.min() * BLOCK_SIZE
                where = "the overlay" if found.above is None else "an undo layer"
                refused = _in_doubt(volumes[volume].name, offset, batch.epoch, where)
        SaveAndWrite(disks, volumes, payload, records).write()
        yield None
    if refused is not None:
        raise refused


def _in_doubt(name: str, offset: int, epoch: int, where: str) -> DataLoss:
    return DataLoss(
        Reason.DISK_ERROR,
        f"volume {name}: the block at {offset} had changed by itself on the secondary's"
        f" disk; it is mended, but {where} may hold it like that: the next"
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
            wrong = _differing(disks[volume], Extent(offset, length), right)
        if wrong:
            yield volume, wrong


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
