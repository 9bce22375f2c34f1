"""The Disk Buffer: the secondary disk, what it held before, and what its VM wrote.

Four rules. A forwarded write never waits for a checkpoint. Before it reaches the
disk, the old content of its blocks that this epoch has not saved yet is appended to
the epoch's undo layer. Then it goes to the disk. A Secondary VM's write goes to the
overlay, never to the disk, and wins over everything below.

Invariants, at every instant after the first commit:
  I1  view == C(committed), plus the overlay;
  -   a block is in layer e exactly if epoch e overwrote it (or is about to);
  -   what a layer holds is never overwritten.

Crash cases (the process dies; the page cache survives):
  after the save, before the write   the layer holds what the disk holds: same view
  in the middle of the save          a torn tail, cut; the write never happened
  after the commit record            layers <= committed are removed at the next start
  before the commit record           the commit never happened

Everything here runs on one thread and is done when it returns: a reader sees the
state before or after a step, never between.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from pyroaring import BitMap

from blkcolo.errors import from_os_error
from blkcolo.extents import BLOCK_SIZE, Blocks, covering
from blkcolo.stream import Batch, RecordKind
from blkcolo_secondary import view
from blkcolo_secondary.buffer_files import BufferFiles
from blkcolo_secondary.view import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from blkcolo.files import BlockFile, Folder
    from blkcolo.stream import VolumeId
    from blkcolo_secondary.overlay import Overlay
    from blkcolo_secondary.undo_layer import SaveRun, UndoLayer

#: One step of a long zero or trim, in bytes.
STEP = 8 << 20
#: Old content gathered before it is appended, in bytes.
_SAVE_BYTES = 1 << 20


class DiskBuffer:
    """The disks of a group, their undo layers and overlays."""

    def __init__(
        self,
        volumes: Sequence[VolumeId],
        disks: Sequence[BlockFile],
        folder: Folder,
        committed: int | None,
        *,
        undone: bool = False,
        settled: bool = False,
    ) -> None:
        """Reads back what an earlier run left.

        Args:
            volumes: the group's volumes.
            disks: their disks, in the same order.
            folder: where layers and overlays live.
            committed: the committed epoch; None where there is nothing to protect.
            undone: the disk is at C(committed) already: what is left of the layers
                is stale, and writes go to the disk.
            settled: the overlays are on the disk, too, or were given up.

        Raises:
            DataLoss: a layer's or overlay's log is damaged.
        """
        self.volumes = volumes
        self.disks = disks
        self._files = BufferFiles(folder, volumes)
        self._committed = committed
        #: True from the moment of a failover at which the layers are undone.
        self.direct = undone
        self._saves_from: int | None = None if committed is None else committed + 1
        self.layers = self._files.load_layers(None if undone else committed)
        self.overlays = self._files.load_overlays(committed, stale=settled)

    # What it holds.

    @property
    def buffer_bytes(self) -> int:
        """Bytes in undo layers."""
        return sum(layer.bytes_held for layer in self.layers.values())

    @property
    def overlay_bytes(self) -> int:
        """Bytes in overlays."""
        return sum(o.bytes_held for o in self.overlays if o is not None)

    @property
    def newest_epoch(self) -> int | None:
        """The newest epoch that has a layer."""
        return max(self.layers, default=None)

    # The stream's side.

    def seal(self, epoch: int) -> None:
        """The epoch's barrier came: from here on its content can become C(epoch)."""
        if self._saves_from is None:
            self._saves_from = epoch + 1

    def apply(self, batch: Batch) -> Iterator[None]:
        """Saves and writes a batch, in steps; each step leaves a correct view.

        Raises:
            Exhausted: no space; nothing is lost, the rest was not applied.
            DataLoss: reading or writing failed, likewise.
        """
        step = _Step(self, self._layer_for(batch.epoch))
        payload = memoryview(batch.payload)
        position = 0
        columns = zip(
            batch.kinds, batch.volumes, batch.offsets, batch.lengths, strict=True
        )
        for kind, volume, offset, length in columns:
            if kind == RecordKind.DATA:
                data = payload[position : position + length]
                position += length
                step.add_data(volume, offset, data)
                continue
            for start in range(offset, offset + length, STEP):
                part = min(STEP, offset + length - start)
                step.add_zero(volume, start, part, may_trim=kind == RecordKind.TRIM)
                step.run()
                yield
        step.run()
        yield

    def _layer_for(self, epoch: int) -> UndoLayer | None:
        if self._saves_from is None or epoch < self._saves_from:
            return None
        if epoch not in self.layers:
            with _translated("creating an undo layer", "", 0):
                self.layers[epoch] = self._files.new_layer(epoch)
        return self.layers[epoch]

    def commit(self, epoch: int, record: Callable[[], object]) -> int:
        """Makes C(epoch) the view; returns how many bytes left the buffer.

        Args:
            epoch: a prepared epoch above the committed one.
            record: writes the commit record; when it raises nothing happened.
        """
        record()
        self._committed = epoch
        self._saves_from = epoch + 1
        before = self.buffer_bytes + self.overlay_bytes
        for old in [e for e in self.layers if e <= epoch]:
            self._files.discard_layer(old, self.layers.pop(old))
        self.drop_overlays()
        return before - self.buffer_bytes

    def drop_layers(self) -> None:
        """Forgets all undo: the disk is what counts now."""
        for epoch in list(self.layers):
            self._files.discard_layer(epoch, self.layers.pop(epoch))

    def drop_overlays(self) -> None:
        """Forgets the Secondary VM's writes."""
        for index, overlay in enumerate(self.overlays):
            if overlay is not None:
                self._files.discard_overlay(index, overlay)
                self.overlays[index] = None
        self._files.overlay_serial = self._committed

    def forget_base(self) -> None:
        """Gives up the checkpoint: nothing is saved until the next one."""
        self.drop_layers()
        self._committed = None
        self._saves_from = None
        self.drop_overlays()

    def sweep(self) -> None:
        """Removes the files of dropped layers; slow, and may run on any thread."""
        self._files.sweep()

    # The reader's side.

    def _above(self) -> list[UndoLayer]:
        """The layers of the view, oldest first; none before the first commit."""
        if self._committed is None:
            return []
        return [self.layers[epoch] for epoch in sorted(self.layers)]

    def segments(self, volume: int, offset: int, length: int) -> list[view.Segment]:
        """Where the view's bytes lie; see `view`."""
        overlay = self.overlays[volume]
        return view.plan(volume, offset, length, overlay, self._above())

    def read_into(self, volume: int, offset: int, target: memoryview) -> None:
        """Fills `target` with the view's bytes; raises OSError."""
        size, length = self.volumes[volume].size, len(target)
        for segment in self.segments(volume, offset, length):
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
            self.settle(volume, covering(offset, len(data)))
            self.disks[volume].write(offset, data)
            return
        overlay = self._overlay_for(volume)
        self._fill_edges(volume, offset, len(data))
        overlay.write(offset, data)
        overlay.mark(covering(offset, len(data)))

    def zero(self, volume: int, offset: int, length: int, *, may_trim: bool) -> None:
        """Zeroes in the overlay, or on the disk when `direct`; raises OSError."""
        if self.direct:
            self.settle(volume, covering(offset, length))
            self.disks[volume].zero(offset, length, may_trim=may_trim)
            return
        overlay = self._overlay_for(volume)
        self._fill_edges(volume, offset, length)
        overlay.zero(offset, length)
        overlay.mark(covering(offset, length))

    def settle(self, volume: int, blocks: Blocks) -> None:
        """Moves blocks of the overlay to the disk; raises OSError.

        They leave the overlay only when their bytes are on the disk, so that a crash
        between the two repeats the move.
        """
        overlay = self.overlays[volume]
        if overlay is None:
            return
        disk, size = self.disks[volume], self.volumes[volume].size
        for run in list(overlay.present(blocks)):
            extent = run.extent(size)
            if overlay.is_hole(*extent):
                disk.zero(*extent, may_trim=True)
            else:
                content = bytearray(extent.length)
                overlay.read_into(extent.offset, memoryview(content))
                disk.write(extent.offset, content)
            overlay.forget(run)

    def _overlay_for(self, volume: int) -> Overlay:
        overlay = self.overlays[volume]
        if overlay is None:
            overlay = self.overlays[volume] = self._files.new_overlay(volume)
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

    def sync(self) -> None:
        """Makes disks and overlays durable; raises OSError."""
        for disk in self.disks:
            disk.sync()
        for overlay in self.overlays:
            if overlay is not None:
                overlay.sync()

    def close(self) -> None:
        """Closes layers and overlays, keeps their files."""
        self._files.sweep()
        for layer in self.layers.values():
            layer.close()
        for overlay in self.overlays:
            if overlay is not None:
                overlay.close()


@contextmanager
def _translated(what: str, volume: str, offset: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise from_os_error(error, what, volume, offset) from error


class _Step:
    """Writes gathered so that their old content is saved by one append."""

    def __init__(self, buffer: DiskBuffer, layer: UndoLayer | None) -> None:
        self._buffer = buffer
        self._layer = layer
        self._wanted: list[SaveRun] = []
        self._claimed = [BitMap() for _ in buffer.volumes]
        self._bytes = 0
        self._writes: list[tuple[int, int, memoryview]] = []
        self._zeros: list[tuple[int, int, int, bool]] = []

    def add_data(self, volume: int, offset: int, data: memoryview) -> None:
        self._claim(volume, offset, len(data))
        self._writes.append((volume, offset, data))
        if self._bytes >= _SAVE_BYTES:
            self.run()

    def add_zero(
        self, volume: int, offset: int, length: int, *, may_trim: bool
    ) -> None:
        self.run()  # keeps the order of data and zeros
        self._claim(volume, offset, length)
        self._zeros.append((volume, offset, length, may_trim))

    def _claim(self, volume: int, offset: int, length: int) -> None:
        """Notes the blocks to save; a block claimed twice is saved first."""
        if self._layer is None:
            return
        blocks = covering(offset, length)
        if self._claimed[volume].range_cardinality(*blocks):
            self.run()
        for gap in self._layer.missing(volume, blocks):
            self._wanted.append((volume, gap))
            self._claimed[volume].add_range(*gap)
            self._bytes += (gap.end - gap.first) * BLOCK_SIZE

    def run(self) -> None:
        """Saves, then writes. Saving happens before overwriting, always."""
        disks, volumes = self._buffer.disks, self._buffer.volumes
        if self._wanted and self._layer is not None:
            volume, blocks = self._wanted[0]
            name, offset = volumes[volume].name, blocks.first * BLOCK_SIZE
            with _translated("saving old content", name, offset):
                self._layer.save(disks, self._wanted)
            self._wanted = []
            self._claimed = [BitMap() for _ in volumes]
            self._bytes = 0
        for volume, offset, data in self._writes:
            with _translated("writing the disk", volumes[volume].name, offset):
                disks[volume].write(offset, data)
        for volume, offset, length, may_trim in self._zeros:
            with _translated("writing the disk", volumes[volume].name, offset):
                disks[volume].zero(offset, length, may_trim=may_trim)
        self._writes = []
        self._zeros = []
