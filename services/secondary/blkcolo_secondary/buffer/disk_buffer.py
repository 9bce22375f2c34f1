"""The Disk Buffer: the secondary disk, what it held before, and what its VM wrote.

Four rules. A forwarded write never waits for a checkpoint. Before it reaches the
disk, the old content of its blocks that this epoch has not saved yet is appended to
the epoch's undo layer. Then it goes to the disk. A Secondary VM's write goes to the
overlay, never to the disk, and wins over everything below.

Layers up to the base belong to kept checkpoints: the view of an older checkpoint k is
that of the base, made of the layers above k instead.

Invariants, at every instant after the first commit:
  I1  view == C(base), plus the overlay; the base is the committed epoch, or the older
      one that a failover was asked to lead to;
  -   a block is in layer e exactly if epoch e overwrote it (or is about to), but for
      those that layers of a lost stream hold for its first epoch (`layer_stack`);
  -   what a layer holds is never overwritten;
  -   a repair saves nothing, so what rotted gets into no layer by it; what does get
      into one is told as far as it is seen (`repair`).

Crash cases (the process dies; the page cache survives):
  after the save, before the write   the layer holds what the disk holds: same view
  in the middle of the save          a torn tail, cut; the write never happened
  after the commit record            layers <= committed are removed at the next start
  before the commit record           the commit never happened

With `host` power loss is survived, too: what was saved is durable before the disk is
written (`Sync`), the disk before the commit record. What power loss leaves of the
disk's unsynced writes is covered by the layers.

Everything here runs on one thread and is done when it returns: a reader sees the
state before or after a step, never between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyroaring import BitMap

from blkcolo.extents import BLOCK_SIZE, covering
from blkcolo_secondary.buffer import view
from blkcolo_secondary.buffer.buffer_files import BufferFiles
from blkcolo_secondary.buffer.layer_stack import LayerStack
from blkcolo_secondary.buffer.overlays import Overlays
from blkcolo_secondary.buffer.repair import Holders, repair_steps
from blkcolo_secondary.buffer.save_and_write import (
    STEP_BYTES,
    SaveAndWrite,
    Sync,
    steps,
)
from blkcolo_secondary.buffer.view import Source

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from blkcolo.storage.files import BlockFile, Folder
    from blkcolo.storage.records import Progress
    from blkcolo.stream import Batch, VolumeId
    from blkcolo_secondary.buffer.buffer_files import Discarded
    from blkcolo_secondary.buffer.repair import Doubt
    from blkcolo_secondary.buffer.undo_layer import UndoLayer

#: Bytes of a step while a commit is awaited: a call takes some turns of the loop.
_SHORT_STEP_BYTES = 128 << 10


class DiskBuffer:
    """The disks of a group, their undo layers and overlays."""

    def __init__(
        self,
        volumes: Sequence[VolumeId],
        disks: Sequence[BlockFile],
        folder: Folder,
        base: int | None,
        *,
        oldest_kept: int | None = None,
        undone: bool = False,
        settled: bool = False,
        discarded: bool = False,
        host: bool = False,
        progress: Progress | None = None,
    ) -> None:
        """Reads back what an earlier run left.

        Args:
            volumes: the group's volumes; shared with whoever makes one grow.
            disks: their disks, in the same order.
            folder: where layers and overlays live.
            base: the epoch that the view shows; None where nothing is protected.
            oldest_kept: the oldest checkpoint that is kept; by default the base.
            undone: the disk is at C(base) already: what is left of the layers above
                is stale, and writes go to the disk.
            discarded: there is no base, and the layers lead back to what the disk
                held before all of them.
            settled: the overlays are on the disk, too, or were given up.
            host: power loss is to be survived.
            progress: told how far each layer is read.

        Raises:
            DataLoss: a layer's or overlay's log is damaged.
        """
        self.volumes = volumes
        #: Bytes written, zeroed and trimmed, and of undo logs, since the start.
        self.applied_bytes = self.saved_bytes = 0
        self.disks = disks
        self.host = host
        self._files = BufferFiles(folder, volumes, host=host)
        self.base = base
        oldest = base if oldest_kept is None else oldest_kept
        #: True from the moment of a failover at which the layers are undone.
        self.direct = undone
        saves_from = None if base is None else base + 1
        found = self._files.load_layers(
            lambda epoch: (
                (discarded and not undone)
                if base is None or oldest is None
                else oldest < epoch and (not undone or epoch <= base)
            ),
            progress,
        )
        self.layers = LayerStack(
            found, 0 if discarded else saves_from, self._files, host=host
        )
        left = self._files.load_overlays(base, stale=settled)
        self.overlays = Overlays(left, volumes, self._files, self.read_into, host=host)
        if host:
            self._files.sync_names()  # stale files that came back would count

    # What it holds.

    @property
    def buffer_bytes(self) -> int:
        """Undo bytes above the base."""
        return self.layers.bytes_held(-1 if self.base is None else self.base, None)

    def buffered_bytes(self, volume: int) -> int:
        """Bytes of a volume's blocks in the layers above the base."""
        layers = self.layers.saved_above(-1 if self.base is None else self.base, volume)
        return sum(map(len, layers)) * BLOCK_SIZE

    @property
    def history_bytes(self) -> int:
        """Undo bytes of kept checkpoints."""
        return 0 if self.base is None else self.layers.bytes_held(-1, self.base)

    def blocks_above(self, base: int) -> list[BitMap]:
        """By volume: the blocks in which disk or view may differ from C(base).

        Those of the layers above it, and the overlay's where that lies above it.
        """
        found = []
        for volume, overlay in enumerate(self.overlays):
            blocks = self.layers.saved_above(base, volume)
            if overlay is not None and base == self.base:
                blocks.append(overlay.blocks)
            found.append(BitMap.union(BitMap(), *blocks))
        return found

    def is_blank(self) -> bool:
        """True if nothing was ever written to the disks; raises OSError."""
        return all(
            next(iter(disk.data_extents(0, volume.size)), None) is None
            for disk, volume in zip(self.disks, self.volumes, strict=True)
        )

    def has_grown(self, index: int) -> None:
        """A volume is larger now; its new tail reads as zeros in every checkpoint."""
        self._files.sizes[index] = self.volumes[index].size

    # The stream's side.

    def start_stream(self, epoch: int) -> None:
        """A stream begins in this epoch; what older ones prepared is never committed.

        From here on the disk is written to by the stream alone.
        """
        self.layers.start_stream(epoch, -1 if self.base is None else self.base)
        self.direct = False

    def seal(self, epoch: int) -> None:
        """The epoch's barrier came: from here on its content can become C(epoch)."""
        if self.layers.saves_from is None:
            self.layers.saves_from = epoch + 1

    def apply(self, batch: Batch) -> Iterator[Sync | None]:
        """Saves and writes a batch, in steps; each step leaves a correct view.

        A `Sync` is to be carried out before the next step.

        Raises:
            Exhausted: no space; nothing is lost, the rest was not applied.
            DataLoss: reading or writing failed, likewise.
        """
        yield from self.layers.create(batch.epoch)
        layer = self.layers.saving(batch.epoch)
        held = layer.bytes_held if layer is not None else 0
        payload = memoryview(batch.payload)
        for records in steps(batch, self._step_bytes(batch.epoch)):
            step = SaveAndWrite(self.disks, self.volumes, payload, records)
            yield from self._run(step, layer)
        self.applied_bytes += sum(batch.lengths)
        self.saved_bytes += layer.bytes_held - held if layer is not None else 0

    def repair(self, batch: Batch) -> Iterator[Doubt | None]:
        """Puts right what rotted, in steps; saves nothing, and `repair` says why.

        A `Doubt` is to be recorded before the next step, and nothing done in between.

        Raises:
            Exhausted, DataLoss: as `apply`; or all is done, and the view is in doubt.
        """
        yield from repair_steps(batch, self.disks, self.volumes, self._holders)
        self.applied_bytes += sum(batch.lengths)

    def _holders(self, volume: int, blocks: BitMap) -> Holders:
        first = 0 if self.base is None else self.base + 1
        end = (self.layers.newest_epoch or 0) + 1
        overlay, newest = self.overlays[volume], self.layers.newest_with
        return Holders(
            newest(volume, blocks, range(first)),
            newest(volume, blocks, range(first, end)),
            overlay is not None and overlay.blocks.intersect(blocks),
        )

    def _step_bytes(self, epoch: int) -> int:
        """How much is saved and written before others have their turn.

        Little while an epoch before this one waits for its commit: the calls that
        bring it wait behind each step. Not with `host`: each step waits for its sync
        there, which lets them through.
        """
        awaited = self.base is not None and epoch > self.base + 1 and not self.host
        return _SHORT_STEP_BYTES if awaited else STEP_BYTES

    def _run(
        self, step: SaveAndWrite, layer: UndoLayer | None
    ) -> Iterator[Sync | None]:
        """Saves, then writes. Saving happens before overwriting, always."""
        saved = step.save(layer)
        if saved is not None and self.host:
            yield Sync(saved.sync)
        step.write()
        yield None

    def commit(self, epoch: int, oldest_kept: int) -> int:
        """Makes C(epoch) the view; returns how many bytes left the buffer.

        Args:
            epoch: a prepared epoch above the base; the commit record is written.
            oldest_kept: the oldest checkpoint that stays available.
        """
        before = self.buffer_bytes + self.overlays.bytes_held
        self.base = epoch
        self.layers.saves_from = epoch + 1
        self.layers.drop(lambda e: e <= oldest_kept)
        self.overlays.drop(epoch)
        return before - self.buffer_bytes

    def forget_base(self) -> None:
        """Gives up every checkpoint: nothing is saved until the next one."""
        self.layers.drop(lambda _: True)
        self.base = None
        self.layers.saves_from = None
        self.overlays.drop(None)

    def remove_stale(self) -> None:
        """Removes all layers and overlays, where the view is the disk anyway.

        Raises:
            OSError: a file could not be removed; calling again goes on.
        """
        self.layers.drop(lambda _: True)
        self.overlays.drop(self.base)
        self._files.remove_all()

    def save_all(self) -> None:
        """Gives up every checkpoint; from here on the layers lead back to this."""
        self.forget_base()
        self.layers.saves_from = 0
        self.direct = False

    def lead_to(self, base: int) -> None:
        """Makes an older checkpoint the view; the overlay is given up."""
        if base != self.base:
            self.base = base
            self.overlays.drop(base)

    def take_dropped(self) -> Discarded:
        """Hands over the files of what was dropped up to now; see `Discarded`.

        With `host`, what dropped it must be durable before they are removed.
        """
        return self._files.take_discarded()

    def sweep(self) -> None:
        """Closes and removes them here and now."""
        dropped = self.take_dropped()
        dropped.close()
        dropped.remove()

    # The reader's side.

    def segments(
        self, volume: int, offset: int, length: int, at: int | None = None
    ) -> list[view.Segment]:
        """Where the view's bytes lie; see `view`.

        Args:
            volume: the volume's index.
            offset: first byte.
            length: number of bytes.
            at: a kept checkpoint; by default the base, with the overlay.
        """
        if at is not None:
            return view.plan(volume, offset, length, None, self.layers.above(at))
        # Before the first commit the view is the disk.
        above = self.layers.above(self.base) if self.base is not None else []
        return view.plan(volume, offset, length, self.overlays[volume], above)

    def read_into(
        self, volume: int, offset: int, target: memoryview, at: int | None = None
    ) -> None:
        """Fills `target` with the view's bytes; raises OSError."""
        size, length = self.volumes[volume].size, len(target)
        for segment in self.segments(volume, offset, length, at):
            start, end = view.part(segment, offset, length, size)
            part = target[start - offset : end - offset]
            self._read_segment(volume, segment, start, part)

    def _read_segment(
        self, volume: int, segment: view.Segment, start: int, target: memoryview
    ) -> None:
        overlay = self.overlays[volume]
        if segment.source is Source.OVERLAY and overlay is not None:
            overlay.read_into(start, target)
        elif segment.layer is not None and segment.run is not None:
            skipped = start - segment.run.first * BLOCK_SIZE
            segment.layer.read_into(segment.run, skipped, target)
        else:
            self.disks[volume].read_into(start, target)

    # The Secondary VM's side.

    def write(self, volume: int, offset: int, data: memoryview) -> None:
        """Writes into the overlay, or to the disk when `direct`; raises OSError."""
        if not self.direct:
            self.overlays.write(volume, offset, data)
            return
        disk = self.disks[volume]
        self.overlays.settle(volume, disk, covering(offset, len(data)))
        disk.write(offset, data)

    def zero(self, volume: int, offset: int, length: int, *, may_trim: bool) -> None:
        """Zeroes in the overlay, or on the disk when `direct`; raises OSError."""
        if not self.direct:
            self.overlays.zero(volume, offset, length)
            return
        disk = self.disks[volume]
        self.overlays.settle(volume, disk, covering(offset, length))
        disk.zero(offset, length, may_trim=may_trim)

    def sync_disks(self) -> None:
        """Makes the disks durable; any thread.

        Raises:
            OSError: some of what was written may be lost.
        """
        for disk in self.disks:
            disk.sync()

    def sync(self) -> None:
        """Makes disks and overlays durable; any thread; raises OSError."""
        self.sync_disks()
        self.overlays.sync()

    def close(self) -> None:
        """Closes layers and overlays, keeps their files."""
        self.layers.close()
        self.overlays.close()
