"""What the Secondary VM wrote: an overlay a volume, made by the first write to it.

An overlay holds whole blocks. Where a write covers the first or the last of its blocks
only in part, the rest of that block is copied up from the view first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blkcolo.extents import Blocks, covering

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from blkcolo.storage.files import BlockFile
    from blkcolo.stream import VolumeId
    from blkcolo_secondary.buffer.buffer_files import BufferFiles
    from blkcolo_secondary.buffer.overlay import Overlay


class Overlays:
    """The overlays of a group, by volume."""

    def __init__(
        self,
        overlays: list[Overlay | None],
        volumes: Sequence[VolumeId],
        files: BufferFiles,
        read_view: Callable[[int, int, memoryview], None],
        *,
        host: bool,
    ) -> None:
        """Goes on with the overlays of an earlier run.

        Args:
            overlays: one a volume; None where the VM has not written.
            volumes: the group's volumes.
            files: makes new ones, and takes those that are dropped.
            read_view: fills a buffer with the bytes of a volume from an offset on, as
                the VM sees them.
            host: power loss is to be survived.
        """
        self._overlays = overlays
        self._volumes = volumes
        self._files = files
        self._read_view = read_view
        self._host = host

    def __iter__(self) -> Iterator[Overlay | None]:
        """By volume; None where the VM has not written."""
        return iter(self._overlays)

    def __getitem__(self, volume: int) -> Overlay | None:
        """The volume's; None where the VM has not written."""
        return self._overlays[volume]

    @property
    def bytes_held(self) -> int:
        """The VM's bytes, in whole blocks."""
        return sum(each.bytes_held for each in self._overlays if each is not None)

    def write(self, volume: int, offset: int, data: memoryview) -> None:
        """Takes a write of the VM; raises OSError."""
        overlay = self._prepare(volume, offset, len(data))
        overlay.write(offset, data)
        overlay.mark(covering(offset, len(data)))

    def zero(self, volume: int, offset: int, length: int) -> None:
        """Takes a zero or a trim of the VM; raises OSError."""
        overlay = self._prepare(volume, offset, length)
        overlay.zero(offset, length)
        overlay.mark(covering(offset, length))

    def _prepare(self, volume: int, offset: int, length: int) -> Overlay:
        """The volume's overlay, ready for a write to the extent."""
        overlay = self._overlays[volume]
        if overlay is None:
            overlay = self._overlays[volume] = self._files.new_overlay(volume)
            if self._host:
                self._files.sync_names()
        self._fill_edges(overlay, volume, offset, length)
        return overlay

    def _fill_edges(
        self, overlay: Overlay, volume: int, offset: int, length: int
    ) -> None:
        """Copies up the first and last block where they are only partly written."""
        size = self._volumes[volume].size
        first, end = covering(offset, length)
        for block in {first, end - 1}:
            extent = Blocks(block, block + 1).extent(size)
            covered = offset <= extent.offset and extent.end <= offset + length
            if covered or block in overlay.blocks:
                continue
            content = bytearray(extent.length)
            self._read_view(volume, extent.offset, memoryview(content))
            overlay.write(extent.offset, content)

    def settle(self, volume: int, disk: BlockFile, blocks: Blocks) -> None:
        """Moves what is here of the blocks to the volume's disk; raises OSError."""
        overlay = self._overlays[volume]
        if overlay is not None and overlay.blocks.range_cardinality(*blocks):
            overlay.settle(disk, self._volumes[volume].size, blocks)

    def drop(self, base: int | None) -> None:
        """Forgets what the VM wrote; what it writes next lies above C(base)."""
        for volume, overlay in enumerate(self._overlays):
            if overlay is not None:
                self._files.discard_overlay(volume, overlay)
                self._overlays[volume] = None
        self._files.overlay_serial = base

    def sync(self) -> None:
        """Makes them durable; any thread; raises OSError."""
        for overlay in self._overlays:
            if overlay is not None:
                overlay.sync()

    def close(self) -> None:
        """Closes the overlays, keeps their files."""
        for overlay in self._overlays:
            if overlay is not None:
                overlay.close()
