"""The names and lives of the Disk Buffer's files.

    undo-<epoch>                        an undo layer
    overlay-<volume>-<serial>.data      an overlay's bytes
    overlay-<volume>-<serial>.marks     which of its blocks count

The serial of an overlay is the epoch that it lies above: a file with another one was
dropped, by a commit that crashed before it removed the file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blkcolo.storage.records import RecordLog
from blkcolo_secondary.buffer.overlay import Overlay
from blkcolo_secondary.buffer.undo_layer import UndoLayer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyroaring import BitMap

    from blkcolo.storage.files import BlockFile, Folder
    from blkcolo.storage.records import Progress
    from blkcolo.stream import VolumeId

_UNDO = "undo-"
_OVERLAY = "overlay-"


class Discarded:
    """Files that nothing refers to any more.

    To be closed where nothing syncs one of them at the same time, and removed where
    nothing waits: that takes seconds for the largest.
    """

    def __init__(self, folder: Folder, host: bool) -> None:
        """Starts empty."""
        self._folder = folder
        self._host = host
        self._holders: list[UndoLayer | Overlay] = []
        self._names: list[str] = []

    def __bool__(self) -> bool:
        """True if there is anything."""
        return bool(self._names)

    def add(self, holder: UndoLayer | Overlay, *names: str) -> None:
        """Adds open files."""
        self._holders.append(holder)
        self._names.extend(names)

    def close(self) -> None:
        """Closes the files; any thread."""
        for holder in self._holders:
            holder.close()

    def remove(self) -> None:
        """Removes them, durably with `host`; any thread; raises OSError."""
        for name in sorted(self._names):
            self._folder.remove(name)
        if self._names and self._host:
            self._folder.sync()


class BufferFiles:
    """Opens, names and removes the files of one group's Disk Buffer."""

    def __init__(
        self, folder: Folder, volumes: Sequence[VolumeId], *, host: bool
    ) -> None:
        """Takes the folder; nothing is opened yet.

        Args:
            folder: where they live.
            volumes: the group's volumes.
            host: power loss is to be survived.
        """
        self._folder = folder
        self._host = host
        #: The volumes' sizes in bytes; shared with the layers.
        self.sizes = [volume.size for volume in volumes]
        self._discarded = Discarded(folder, host)
        self.overlay_serial: int | None = None

    def load_layers(
        self, wanted: Callable[[int], bool], progress: Progress | None
    ) -> dict[int, UndoLayer]:
        """Reads the layers of wanted epochs, and removes the others."""
        layers = {}
        for name in self._folder.names():
            number = name.removeprefix(_UNDO)
            if number == name or not (number.isascii() and number.isdigit()):
                continue
            epoch = int(number)
            if not wanted(epoch):
                self._folder.remove(name)
                continue
            layers[epoch] = self.new_layer(epoch)
            layers[epoch].load(progress)
        return dict(sorted(layers.items()))

    def new_layer(
        self, epoch: int, elsewhere: Sequence[BitMap] | None = None
    ) -> UndoLayer:
        """Opens a layer's file; an empty one if there is none; see `UndoLayer`."""
        name = f"{_UNDO}{epoch}"
        log = RecordLog(self._folder.open(name), name, host=self._host)
        return UndoLayer(log, self.sizes, elsewhere)

    def open_layer(self, epoch: int) -> BlockFile:
        """The file of a layer that is there, once more."""
        return self._folder.open(f"{_UNDO}{epoch}")

    def discard_layer(self, epoch: int, layer: UndoLayer) -> None:
        """Puts a layer's file on the list of what is discarded."""
        self._discarded.add(layer, f"{_UNDO}{epoch}")

    def load_overlays(self, serial: int | None, *, stale: bool) -> list[Overlay | None]:
        """Reads the overlays of this serial, and removes the others.

        Those of this serial are removed, too, where the caller knows them to be stale.
        """
        self.overlay_serial = serial
        names = {n for n in self._folder.names() if n.startswith(_OVERLAY)}
        overlays: list[Overlay | None] = []
        for index in range(len(self.sizes)):
            data, marks = self._overlay_names(index)
            overlay = None
            if marks in names and not stale:
                overlay = self.new_overlay(index)
                overlay.load()
                names -= {data, marks}
            overlays.append(overlay)
        for name in sorted(names):
            self._folder.remove(name)
        return overlays

    def new_overlay(self, index: int) -> Overlay:
        """Opens an overlay's files; empty ones if there are none."""
        data, marks = self._overlay_names(index)
        log = RecordLog(self._folder.open(marks), marks, host=self._host)
        return Overlay(self._folder.open(data), log, host=self._host)

    def discard_overlay(self, index: int, overlay: Overlay) -> None:
        """Puts an overlay's files on the list of what is discarded."""
        self._discarded.add(overlay, *self._overlay_names(index))

    def _overlay_names(self, index: int) -> tuple[str, str]:
        serial = "none" if self.overlay_serial is None else self.overlay_serial
        stem = f"{_OVERLAY}{index}-{serial}"
        return f"{stem}.data", f"{stem}.marks"

    def sync_names(self) -> None:
        """Makes new files durable; raises OSError."""
        self._folder.sync()

    def remove_all(self) -> None:
        """Removes every layer and overlay; durably with `host`.

        Those as well that an earlier removal left: in another state they would count.

        Raises:
            OSError: some are left; calling again goes on.
        """
        self.take_discarded().close()
        for name in self._folder.names():
            if name.startswith((_UNDO, _OVERLAY)):
                self._folder.remove(name)
        if self._host:
            self._folder.sync()

    def take_discarded(self) -> Discarded:
        """Hands over what was discarded up to now."""
        taken, self._discarded = self._discarded, Discarded(self._folder, self._host)
        return taken
