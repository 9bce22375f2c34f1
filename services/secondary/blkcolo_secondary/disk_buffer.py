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
  -   a block is in layer e exactly if epoch e overwrote it (or is about to);
  -   what a layer holds is never overwritten.

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

from itertools import takewhile
from typing import TYPE_CHECKING

from pyroaring import BitMap

from blkcolo.errors import translated
from blkcolo.extents import BLOCK_SIZE, Blocks, covering
from blkcolo.stream import Batch, RecordKind
from blkcolo_secondary import view
from blkcolo_secondary.buffer_files import BufferFiles
from blkcolo_secondary.save_and_write import SaveAndWrite, Sync
from blkcolo_secondary.view import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from blkcolo.files import BlockFile, Folder
    from blkcolo.records import Progress
    from blkcolo.stream import VolumeId
    from blkcolo_secondary.buffer_files import Discarded
    from blkcolo_secondary.overlay import Overlay
    from blkcolo_secondary.undo_layer import UndoLayer

#: One step of a long zero or trim, in bytes.
STEP = 8 << 20
_DATA = int(RecordKind.DATA)


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
        self._saves_from: int | None = None if base is None else base + 1
        if discarded:
            self._saves_from = 0
        #: By epoch, oldest first.
        self.layers = self._files.load_layers(
            lambda epoch: (
                (discarded and not undone)
                if base is None or oldest is None
                else oldest < epoch and (not undone or epoch <= base)
            ),
            progress,
        )
        self.overlays = self._files.load_overlays(base, stale=settled)
        if host:
            self._files.sync_names()  # stale files that came back would count

    # What it holds.

    @property
    def buffer_bytes(self) -> int:
        """Undo bytes above the base."""
        return self.undo_bytes(-1 if self.base is None else self.base, None)

    @property
    def history_bytes(self) -> int:
        """Undo bytes of kept checkpoints."""
        return 0 if self.base is None else self.undo_bytes(-1, self.base)

    def undo_bytes(self, above: int, up_to: int | None) -> int:
        """Bytes in the layers of epochs in (above, up_to]."""
        held = 0
        for epoch in reversed(self.layers):
            if epoch <= above:
                break
            if up_to is None or epoch <= up_to:
                held += self.layers[epoch].bytes_held
        return held

    def blocks_above(self, base: int) -> list[BitMap]:
        """By volume: the blocks in which disk or view may differ from C(base).

        Those of the layers above it, and the overlay's where that lies above it.
        """
        above = [layer for epoch, layer in self.layers.items() if epoch > base]
        found = []
        for volume, overlay in enumerate(self.overlays):
            blocks = [layer.saved_blocks(volume) for layer in above]
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

    @property
    def overlay_bytes(self) -> int:
        """Bytes in overlays."""
        return sum(o.bytes_held for o in self.overlays if o is not None)

    @property
    def newest_epoch(self) -> int | None:
        """The newest epoch that has a layer."""
        return max(self.layers, default=None)

    def has_grown(self, index: int) -> None:
        """A volume is larger now; its new tail reads as zeros in every checkpoint."""
        self._files.sizes[index] = self.volumes[index].size

    # The stream's side.

    def seal(self, epoch: int) -> None:
        """The epoch's barrier came: from here on its content can become C(epoch)."""
        if self._saves_from is None:
            self._saves_from = epoch + 1

    def apply(self, batch: Batch) -> Iterator[Sync | None]:
        """Saves and writes a batch, in steps; each step leaves a correct view.

        A `Sync` is to be carried out before the next step.

        Raises:
            Exhausted: no space; nothing is lost, the rest was not applied.
            DataLoss: reading or writing failed, likewise.
        """
        yield from self._create_layer(batch.epoch)
        layer = self._layer(batch.epoch)
        held = layer.bytes_held if layer is not None else 0
        payload = memoryview(batch.payload)
        step = SaveAndWrite(self.disks, self.volumes, layer, payload)
        position = 0
        columns = zip(
            batch.kinds, batch.volumes, batch.offsets, batch.lengths, strict=True
        )
        for kind, volume, offset, length in columns:
            if kind == _DATA:
                if step.full_with(length):
                    yield from self._run(step)
                step.add_data(volume, offset, length, position)
                position += length
                continue
            for start in range(offset, offset + length, STEP):
                part = min(STEP, offset + length - start)
                if step.full_with(part):
                    yield from self._run(step)
                step.add_zero(volume, start, part, may_trim=kind == RecordKind.TRIM)
        yield from self._run(step)
        self.applied_bytes += sum(batch.lengths)
        self.saved_bytes += layer.bytes_held - held if layer is not None else 0

    def _run(self, step: SaveAndWrite) -> Iterator[Sync | None]:
        """Saves, then writes. Saving happens before overwriting, always."""
        layer = step.save()
        if layer is not None and self.host:
            yield Sync(layer.sync)
        step.write()
        yield None

    def _create_layer(self, epoch: int) -> Iterator[Sync]:
        if self._layer(epoch) is None and self._saves(epoch):
            with translated("creating an undo layer", "", 0):
                self.layers[epoch] = self._files.new_layer(epoch)
            if self.host:
                yield Sync(self._files.sync_names)

    def _saves(self, epoch: int) -> bool:
        return self._saves_from is not None and epoch >= self._saves_from

    def _layer(self, epoch: int) -> UndoLayer | None:
        return self.layers.get(epoch) if self._saves(epoch) else None

    def commit(self, epoch: int, oldest_kept: int) -> int:
        """Makes C(epoch) the view; returns how many bytes left the buffer.

        Args:
            epoch: a prepared epoch above the base; the commit record is written.
            oldest_kept: the oldest checkpoint that stays available.
        """
        before = self.buffer_bytes + self.overlay_bytes
        self.base = epoch
        self._saves_from = epoch + 1
        self.drop_layers(lambda e: e <= oldest_kept)
        self.drop_overlays()
        return before - self.buffer_bytes

    def drop_layers(self, unwanted: Callable[[int], bool]) -> None:
        """Forgets the layers of unwanted epochs."""
        for epoch in [e for e in self.layers if unwanted(e)]:
            self._files.discard_layer(epoch, self.layers.pop(epoch))

    def drop_overlays(self) -> None:
        """Forgets the Secondary VM's writes."""
        for index, overlay in enumerate(self.overlays):
            if overlay is not None:
                self._files.discard_overlay(index, overlay)
                self.overlays[index] = None
        self._files.overlay_serial = self.base

    def forget_base(self) -> None:
        """Gives up every checkpoint: nothing is saved until the next one."""
        self.drop_layers(lambda _: True)
        self.base = None
        self._saves_from = None
        self.drop_overlays()

    def save_all(self) -> None:
        """Gives up every checkpoint; from here on the layers lead back to this.

        Raises:
            OSError: files of before could not be removed.
        """
        self.forget_base()
        self.sweep()
        self._saves_from = 0
        self.direct = False

    def lead_to(self, base: int) -> None:
        """Makes an older checkpoint the view; the overlay is given up."""
        if base != self.base:
            self.base = base
            self.drop_overlays()

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

    def _above(self, epoch: int | None) -> list[UndoLayer]:
        """The layers above an epoch, oldest first; none before the first commit."""
        if epoch is None:
            return []
        newest_first = takewhile(lambda e: e > epoch, reversed(self.layers))
        return [self.layers[e] for e in newest_first][::-1]

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
            return view.plan(volume, offset, length, None, self._above(at))
        overlay = self.overlays[volume]
        return view.plan(volume, offset, length, overlay, self._above(self.base))

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
        if self.direct:
            self._settle(volume, covering(offset, len(data)))
            self.disks[volume].write(offset, data)
            return
        overlay = self._overlay_for(volume)
        self._fill_edges(volume, offset, len(data))
        overlay.write(offset, data)
        overlay.mark(covering(offset, len(data)))

    def zero(self, volume: int, offset: int, length: int, *, may_trim: bool) -> None:
        """Zeroes in the overlay, or on the disk when `direct`; raises OSError."""
        if self.direct:
            self._settle(volume, covering(offset, length))
            self.disks[volume].zero(offset, length, may_trim=may_trim)
            return
        overlay = self._overlay_for(volume)
        self._fill_edges(volume, offset, length)
        overlay.zero(offset, length)
        overlay.mark(covering(offset, length))

    def _settle(self, volume: int, blocks: Blocks) -> None:
        """Moves blocks of the overlay to the disk; raises OSError."""
        overlay = self.overlays[volume]
        if overlay is not None and overlay.blocks.range_cardinality(*blocks):
            overlay.settle(self.disks[volume], self.volumes[volume].size, blocks)

    def _overlay_for(self, volume: int) -> Overlay:
        overlay = self.overlays[volume]
        if overlay is None:
            overlay = self.overlays[volume] = self._files.new_overlay(volume)
            if self.host:
                self._files.sync_names()
        return overlay

    def _fill_edges(self, volume: int, offset: int, length: int) -> None:
        """Copies up the first and last block where they are only partly written."""
        overlay = self._overlay_for(volume)
        size = self.volumes[volume].size
        first, end = covering(offset, length)
        for block in {first, end - 1}:
            extent = Blocks(block, block + 1).extent(size)
            covered = offset <= extent.offset and extent.end <= offset + length
            if covered or block in overlay.blocks:
                continue
            content = bytearray(extent.length)
            self.read_into(volume, extent.offset, memoryview(content))
            overlay.write(extent.offset, content)

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
        for overlay in self.overlays:
            if overlay is not None:
                overlay.sync()

    def close(self) -> None:
        """Closes layers and overlays, keeps their files."""
        self.sweep()
        for layer in self.layers.values():
            layer.close()
        for overlay in self.overlays:
            if overlay is not None:
                overlay.close()
