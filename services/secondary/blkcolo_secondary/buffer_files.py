"""The names and lives of the Disk Buffer's files.

    undo-<epoch>                        an undo layer
    overlay-<volume>-<serial>.data      an overlay's bytes
    overlay-<volume>-<serial>.marks     which of its blocks count

The serial of an overlay is the committed epoch that it lies above: a file with
another one was dropped, by a commit that crashed before it removed the file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blkcolo_secondary.overlay import Overlay
from blkcolo_secondary.undo_layer import UndoLayer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blkcolo.files import Folder
    from blkcolo.stream import VolumeId

_UNDO = "undo-"
_OVERLAY = "overlay-"


class BufferFiles:
    """Opens, names and removes the files of one group's Disk Buffer."""

    def __init__(self, folder: Folder, volumes: Sequence[VolumeId]) -> None:
        """Takes the folder; nothing is opened yet."""
        self._folder = folder
        self._sizes = [volume.size for volume in volumes]
        self._discarded: list[tuple[UndoLayer | Overlay, list[str]]] = []
        self.overlay_serial: int | None = None

    def load_layers(self, committed: int | None) -> dict[int, UndoLayer]:
        """Reads the layers above `committed`; removes the others, or all if None."""
        layers = {}
        for name in self._folder.names():
            if not name.startswith(_UNDO):
                continue
            epoch = int(name.removeprefix(_UNDO))
            if committed is None or epoch <= committed:
                self._folder.remove(name)
                continue
            file = self._folder.open(name)
            layers[epoch] = UndoLayer.load(file, self._sizes, name)
        return dict(sorted(layers.items()))

    def new_layer(self, epoch: int) -> UndoLayer:
        """Creates an empty layer."""
        return UndoLayer(self._folder.open(f"{_UNDO}{epoch}"), self._sizes)

    def discard_layer(self, epoch: int, layer: UndoLayer) -> None:
        """Puts a layer's file on the list that `sweep` removes."""
        self._discarded.append((layer, [f"{_UNDO}{epoch}"]))

    def load_overlays(
        self, committed: int | None, *, stale: bool
    ) -> list[Overlay | None]:
        """Reads the overlays above `committed`, and removes the others.

        Those above it are removed, too, where the caller knows them to be stale.
        """
        self.overlay_serial = committed
        names = {n for n in self._folder.names() if n.startswith(_OVERLAY)}
        overlays: list[Overlay | None] = []
        for index in range(len(self._sizes)):
            data, marks = self._overlay_names(index)
            if marks in names and not stale:
                files = self._folder.open(data), self._folder.open(marks)
                overlays.append(Overlay.load(*files, marks))
                names -= {data, marks}
            else:
                overlays.append(None)
        for name in sorted(names):
            self._folder.remove(name)
        return overlays

    def new_overlay(self, index: int) -> Overlay:
        """Creates an empty overlay."""
        data, marks = self._overlay_names(index)
        return Overlay(self._folder.open(data), self._folder.open(marks))

    def discard_overlay(self, index: int, overlay: Overlay) -> None:
        """Puts an overlay's files on the list that `sweep` removes."""
        self._discarded.append((overlay, list(self._overlay_names(index))))

    def _overlay_names(self, index: int) -> tuple[str, str]:
        serial = "none" if self.overlay_serial is None else self.overlay_serial
        stem = f"{_OVERLAY}{index}-{serial}"
        return f"{stem}.data", f"{stem}.marks"

    def sweep(self) -> None:
        """Closes and removes what was discarded."""
        while self._discarded:
            holder, names = self._discarded.pop()
            holder.close()
            for name in sorted(names):
                self._folder.remove(name)
