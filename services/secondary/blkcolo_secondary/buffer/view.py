"""Where the bytes of the view lie: the reading rule of the Disk Buffer.

    view(block) = the overlay,
                  else the OLDEST undo layer above the committed epoch that has it,
                  else the disk

The oldest layer wins, since a block's first overwrite after the checkpoint is the
one that found the checkpoint's content.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple

from blkcolo.extents import BLOCK_SIZE, Blocks, covering

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blkcolo_secondary.buffer.block_index import Run
    from blkcolo_secondary.buffer.overlay import Overlay
    from blkcolo_secondary.buffer.undo_layer import UndoLayer


class Source(enum.Enum):
    """Where a part of the view is stored."""

    #: In the overlay.
    OVERLAY = "overlay"
    #: In an undo layer.
    UNDO = "undo"
    #: On the disk.
    DISK = "disk"


class Segment(NamedTuple):
    """Blocks of the view that lie in one place; layer and run only with UNDO."""

    blocks: Blocks
    source: Source
    layer: UndoLayer | None = None
    run: Run | None = None


def plan(
    volume: int,
    offset: int,
    length: int,
    overlay: Overlay | None,
    layers: Sequence[UndoLayer],
) -> list[Segment]:
    """Says where the blocks of an extent lie, in order.

    Args:
        volume: the volume's index.
        offset: first byte.
        length: number of bytes.
        overlay: the volume's overlay, if it has one.
        layers: the undo layers above the committed epoch, oldest first.
    """
    wanted = [covering(offset, length)]
    segments: list[Segment] = []
    if overlay is not None and overlay.blocks:
        segments.extend(
            Segment(blocks, Source.OVERLAY) for blocks in overlay.present(wanted[0])
        )
        wanted = list(overlay.absent(wanted[0]))
    for layer in layers:
        wanted = _take(volume, layer, wanted, segments)
    segments.extend(Segment(blocks, Source.DISK) for blocks in wanted)
    segments.sort(key=lambda segment: segment.blocks)
    return segments


def _take(
    volume: int, layer: UndoLayer, wanted: list[Blocks], segments: list[Segment]
) -> list[Blocks]:
    """Adds what the layer has of the wanted blocks; returns what it has not."""
    left: list[Blocks] = []
    for blocks in wanted:
        at = blocks.first
        for run in layer.find(volume, blocks):
            if run.first > at:
                left.append(Blocks(at, run.first))
            found = Blocks(run.first, run.end)
            segments.append(Segment(found, Source.UNDO, layer, run))
            at = run.end
        if at < blocks.end:
            left.append(Blocks(at, blocks.end))
    return left


def part(segment: Segment, offset: int, length: int, size: int) -> tuple[int, int]:
    """The bytes [start, end) of the extent that lie in the segment.

    Args:
        segment: the segment.
        offset: the extent's first byte.
        length: the extent's length.
        size: the volume's size.
    """
    start = max(offset, segment.blocks.first * BLOCK_SIZE)
    end = min(offset + length, segment.blocks.end * BLOCK_SIZE, size)
    return start, end
