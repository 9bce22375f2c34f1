"""The undo layers of a group, one an epoch: which there are, and which are wanted.

An epoch gets a layer at its first write if its content is to be given back later:
from `saves_from` on. Before the first checkpoint there is nothing to give back.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import takewhile
from typing import TYPE_CHECKING

from pyroaring import BitMap

from blkcolo.errors import translated
from blkcolo_secondary.buffer.save_and_write import Sync

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from blkcolo.storage.files import BlockFile
    from blkcolo_secondary.buffer.buffer_files import BufferFiles
    from blkcolo_secondary.buffer.undo_layer import UndoLayer


class LayerStack:
    """Undo layers, oldest first."""

    def __init__(
        self,
        layers: dict[int, UndoLayer],
        saves_from: int | None,
        files: BufferFiles,
        *,
        host: bool,
    ) -> None:
        """Goes on with the layers of an earlier run.

        Args:
            layers: by epoch, oldest first.
            saves_from: the first epoch whose overwrites are saved; None: none is.
            files: makes new ones, and takes those that are dropped.
            host: power loss is to be survived.
        """
        self.saves_from = saves_from
        self._layers = layers
        self._files = files
        self._host = host
        #: The first epoch of the stream, and what older ones hold for it, by volume.
        self._first: tuple[int, list[BitMap]] | None = None

    def start_stream(self, epoch: int, base: int) -> None:
        """A stream begins, in this epoch; nothing older can be committed any more."""
        older = self.above(base)
        if self._host:
            for layer in older:
                with suppress(OSError):  # then it is not whole
                    layer.sync()
        whole = [layer for layer in older if layer.whole]
        self._first = (
            epoch,
            [
                BitMap.union(BitMap(), *(layer.saved_blocks(volume) for layer in whole))
                for volume in range(len(self._files.sizes))
            ],
        )

    @property
    def epochs(self) -> list[int]:
        """The epochs that have a layer, oldest first."""
        return list(self._layers)

    def end_of(self, epoch: int) -> int:
        """Bytes of an epoch's layer that count; 0 without one."""
        layer = self._layers.get(epoch)
        return layer.whole_bytes if layer is not None else 0

    def reopen(self, epoch: int) -> BlockFile | None:
        """A layer's file once more, for the caller to read and close."""
        return self._files.open_layer(epoch) if epoch in self._layers else None

    @property
    def newest_epoch(self) -> int | None:
        """The newest epoch that has a layer."""
        return max(self._layers, default=None)

    def bytes_held(self, above: int, up_to: int | None) -> int:
        """Bytes in the layers of epochs in (above, up_to]."""
        held = 0
        for epoch in reversed(self._layers):
            if epoch <= above:
                break
            if up_to is None or epoch <= up_to:
                held += self._layers[epoch].bytes_held
        return held

    def above(self, epoch: int) -> list[UndoLayer]:
        """The layers of later epochs, oldest first."""
        newest_first = takewhile(lambda e: e > epoch, reversed(self._layers))
        return [self._layers[e] for e in newest_first][::-1]

    def saved_above(self, epoch: int, volume: int) -> list[BitMap]:
        """The blocks of a volume that each of the layers above the epoch holds."""
        return [layer.saved_blocks(volume) for layer in self.above(epoch)]

    def newest_with(self, volume: int, blocks: BitMap, epochs: range) -> int | None:
        """The newest of these epochs whose layer holds any of a volume's blocks."""
        for epoch in reversed(self._layers):
            if epoch in epochs and blocks.intersect(
                self._layers[epoch].saved_blocks(volume)
            ):
                return epoch
        return None

    def saving(self, epoch: int) -> UndoLayer | None:
        """Where an epoch's overwrites are saved; None where they are not."""
        return self._layers.get(epoch) if self._saves(epoch) else None

    def create(self, epoch: int) -> Iterator[Sync]:
        """Makes an epoch's layer, if it wants one and has none.

        A `Sync` is to be carried out before the next step.

        Raises:
            BlkcoloError: its file cannot be created.
        """
        if epoch in self._layers or not self._saves(epoch):
            return
        with translated("creating an undo layer", "", 0):
            self._layers[epoch] = self._files.new_layer(epoch, self._held_for(epoch))
        if self._host:
            yield Sync(self._files.sync_names)

    def _held_for(self, epoch: int) -> list[BitMap] | None:
        if self._first is None or self._first[0] != epoch:
            return None
        return self._first[1]

    def _saves(self, epoch: int) -> bool:
        return self.saves_from is not None and epoch >= self.saves_from

    def drop(self, unwanted: Callable[[int], bool]) -> None:
        """Forgets the layers of unwanted epochs."""
        for epoch in [e for e in self._layers if unwanted(e)]:
            self._files.discard_layer(epoch, self._layers.pop(epoch))
        if self._first is not None and unwanted(self._first[0]):
            self._first = None  # as large as what the older layers held

    def close(self) -> None:
        """Closes the layers, keeps their files."""
        for layer in self._layers.values():
            layer.close()
