"""Bringing the disk to the view: undo, newest layer first, then the overlay.

Each step moves at most a few MiB and leaves the view as it was, so readers and
writers are served between steps, and a crash at any point only means doing it again:
undo writes the same old content, a settled overlay block is gone from the overlay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blkcolo.errors import translated
from blkcolo.extents import BLOCK_SIZE, Blocks
from blkcolo_secondary.buffer.block_index import HOLE
from blkcolo_secondary.buffer.save_and_write import LONGEST_ZERO, Sync
from blkcolo_secondary.record.group_journal import Phase

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from blkcolo_secondary.buffer.disk_buffer import DiskBuffer
    from blkcolo_secondary.record.group_journal import GroupJournal

_SETTLE_BLOCKS = (1 << 20) // BLOCK_SIZE
#: Small runs are undone together, up to so many bytes a step.
_STEP_BYTES = 256 << 10
_GO_ON = "repeat the call that began it: the flush goes on"


def steps(
    buffer: DiskBuffer, journal: GroupJournal, *, failover: bool
) -> Iterator[int | Sync]:
    """Brings the disk to the view, and records the end; yields bytes moved.

    A Sync is to be carried out before the next step.

    Raises:
        BlkcoloError: a disk or the journal refused; calling again goes on.
    """
    yield from roll_back(buffer)
    if buffer.host:
        yield Sync(buffer.sync_disks)
    base = buffer.base
    if failover:
        journal.update(phase=Phase.SETTLING)
        buffer.direct = True
        buffer.layers.drop(lambda _: True)
        yield from settle_overlays(buffer)
        journal.update(phase=Phase.FAILED_OVER)
    else:
        journal.update(phase=Phase.STOPPED)
        buffer.layers.drop(lambda epoch: base is None or epoch > base)
    buffer.overlays.drop(base)


def roll_back(buffer: DiskBuffer) -> Iterator[int]:
    """Undoes the layers above the base; yields the bytes written by each step.

    The layers stay: the caller drops them when it has recorded the end.

    Raises:
        BlkcoloError: reading a layer or writing the disk failed; calling again
            repeats.
    """
    base, moved = -1 if buffer.base is None else buffer.base, 0
    for layer in reversed(buffer.layers.above(base)):
        for volume, extent, run in layer.contents():
            disk = buffer.disks[volume]
            if run.position != HOLE:
                content = bytearray(extent.length)
                with _located(buffer, volume, extent.offset):
                    layer.read_into(run, 0, memoryview(content))
                    disk.write(extent.offset, content)
                moved += extent.length
                if moved >= _STEP_BYTES:
                    yield moved
                    moved = 0
                continue
            for start in range(extent.offset, extent.end, LONGEST_ZERO):
                with _located(buffer, volume, start):
                    disk.zero(
                        start, min(LONGEST_ZERO, extent.end - start), may_trim=True
                    )
                yield 0
    yield moved


def settle_overlays(buffer: DiskBuffer) -> Iterator[int | Sync]:
    """Moves the overlays to the disk; yields the bytes moved by each step.

    With `host` the bytes are durable on the disk (Sync) before a block leaves the
    overlay; a client's write to it may come between, and has settled it by itself.

    Needs `buffer.direct`, so that writes made meanwhile go to the disk and the
    overlays only shrink.

    Raises:
        BlkcoloError: reading an overlay or writing the disk failed; calling again
            repeats.
    """
    for volume, overlay in enumerate(buffer.overlays):
        disk = buffer.disks[volume]
        while overlay is not None and overlay.blocks:
            first = overlay.blocks.min()
            step = Blocks(first, first + _SETTLE_BLOCKS)
            with _located(buffer, volume, first * BLOCK_SIZE):
                overlay.copy_to(disk, buffer.volumes[volume].size, step)
            if buffer.host:
                yield Sync(disk.sync)
            moved = 0
            for run in list(overlay.present(step)):
                with _located(buffer, volume, run.first * BLOCK_SIZE):
                    overlay.forget(run)
                moved += run.end - run.first
            yield moved * BLOCK_SIZE


def _located(
    buffer: DiskBuffer, volume: int, offset: int
) -> AbstractContextManager[None]:
    """Says where a flush paused, and how it goes on."""
    name = buffer.volumes[volume].name
    return translated("flushing the Disk Buffer", name, offset, _GO_ON)
