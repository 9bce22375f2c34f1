"""Which regions may differ from the last committed checkpoint: a persistent bitmap.

Each bit is on disk before the write that it stands for, so whatever dies, the regions
named here are all that a resync has to look at. A primary marks what its VM writes,
and clears bits lazily, some time after the commit that made them superfluous: a hot
region pays for its bit once. A secondary that was failed over marks what its VM
writes from then on, and what the failover undid. A primary that was demoted keeps its
bits: they say where it ran ahead of the checkpoint.

What is on disk is the business of `intent.file`.

After DRBD's activity log and bitmap, QEMU's dirty bitmaps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyroaring import BitMap

from blkcolo.errors import DataLoss
from blkcolo.extents import Extent
from blkcolo.intent.file import Base, IntentFile
from blkcolo.intent.regions import bytes_of, covering_blocks, extents_of
from blkcolo.intent.settled_regions import SettledRegions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blkcolo.intent.settled_regions import Copy
    from blkcolo.storage.files import Folder

#: Of bits that any commit clears; epochs start at 0.
BEFORE_ALL_EPOCHS = -1
#: Epochs that may be uncommitted at once before their bits are joined.
_MOST_EPOCHS = 16
#: Sequential writes are marked so far ahead, in bytes: each mark costs a write to the
#: file, and with `host` an fdatasync; a resync compares that much more at most.
_AHEAD_BYTES = 1 << 20


class IntentLog:
    """The intent log of one group."""

    def __init__(
        self, folder: Folder, group: str, sizes: Sequence[int], region_size: int
    ) -> None:
        """Reads back what an earlier run left.

        Args:
            folder: where it lives.
            group: the group's name; the file's, too.
            sizes: the volumes' sizes in bytes.
            region_size: bytes a bit stands for; a power of two.
        """
        self.base: Base | None = None
        #: Why an existing log could not be used; None where there is no such log.
        self.damage: DataLoss | None = None
        self.region_size = region_size
        self._file = IntentFile(folder, group, region_size)
        self.sizes = list(sizes)
        self._shift = region_size.bit_length() - 1
        self._marked = [BitMap() for _ in sizes]
        #: The region behind the newest mark, by volume.
        self._next = [-1] * len(self.sizes)
        self._touched: dict[int, list[BitMap]] = {}
        self._keep: list[BitMap] | None = None
        #: What an unfinished resync has made equal.
        self.settled = SettledRegions(self.sizes, self._shift)
        self._unsynced = [BitMap() for _ in sizes]
        #: What each `sync` under way makes durable.
        self._syncing: list[list[BitMap]] = []
        if self._file.exists:
            self._load()

    def _load(self) -> None:
        try:
            self.base = self._file.load(self.sizes, self._marked, self.settled)
        except DataLoss as error:
            self.damage = error
            self.forget()
            return
        if self.base is None and not self.settled:
            self.forget()
            return
        self._touched[BEFORE_ALL_EPOCHS] = [bitmap.copy() for bitmap in self._marked]

    # What it says.

    @property
    def known(self) -> bool:
        """True if the bits say all; False: everything may differ."""
        return self.base is not None

    @property
    def dirty_bytes(self) -> int | None:
        """Bytes of marked regions; None if it is not known."""
        return None if self.base is None else sum(self.dirty_bytes_of_volumes)

    @property
    def dirty_bytes_of_volumes(self) -> list[int]:
        """By volume; nothing where it is not known."""
        if self.base is None:
            return []
        return [
            bytes_of(bitmap, size, self._shift)
            for bitmap, size in zip(self._marked, self.sizes, strict=True)
        ]

    def dirty(self) -> list[list[Extent]]:
        """The marked extents of each volume, in order; all of it if not known."""
        if self.base is None:
            return [[Extent(0, size)] for size in self.sizes]
        return self._all_extents(self._marked)

    def _all_extents(self, bitmaps: Sequence[BitMap]) -> list[list[Extent]]:
        return [
            list(extents_of(bitmap, size, self._shift))
            for bitmap, size in zip(bitmaps, self.sizes, strict=True)
        ]

    def grow(self, volume: int, size: int) -> None:
        """A volume is larger now; its tail is clean.

        Raises:
            OSError: the file could not be written: everything may differ.
        """
        self.sizes[volume] = size
        if not self._file.is_open:
            return
        base, marked, copy = self.base, self._marked, self.settled.copy
        try:
            self._rewrite(base or Base("", 0), marked, copy)
        except OSError:
            self.forget()
            raise

    # Before each write.

    def mark(self, epoch: int, volume: int, offset: int, length: int) -> bool:
        """Marks the regions of an extent; True if the file was written for it.

        Args:
            epoch: the epoch that the write belongs to.
            volume: the volume's index.
            offset: the write's first byte.
            length: its length in bytes.

        Raises:
            OSError: the file could not be written; the write must not happen.
        """
        first, end = offset >> self._shift, ((offset + length - 1) >> self._shift) + 1
        touched = self._touched.get(epoch)
        if touched is None:
            touched = self._touch_epoch(epoch)
        marked = self._marked[volume]
        touched[volume].add_range(first, end)
        if self._keep is not None:
            self._keep[volume].add_range(first, end)
        self._mend()
        unsettles = self.settled.copy is not None and self.settled.unsettles(
            volume, first, end
        )
        covered = self.base is None or marked.contains_range(first, end)
        if not self._file.is_open or (covered and not unsettles):
            return False
        end = self._next[volume] = self._reach(volume, first, end)
        self._file.append_mark(volume, first, end)
        marked.add_range(first, end)
        self.settled.regions[volume].remove_range(first, end)
        self._unsynced[volume].add_range(first, end)
        return True

    def mark_each(
        self, epoch: int, volume: int, offsets: Sequence[int], length: int
    ) -> None:
        """Marks the regions of extents of one length; as `mark` of each."""
        regions = BitMap([offset >> self._shift for offset in offsets])
        regions.update([(offset + length - 1) >> self._shift for offset in offsets])
        if length > self.region_size or self._has_news(regions, volume):
            for offset in offsets:
                self.mark(epoch, volume, offset, length)
            return
        touched = self._touched.get(epoch) or self._touch_epoch(epoch)
        touched[volume] |= regions
        if self._keep is not None:
            self._keep[volume] |= regions

    def _has_news(self, regions: BitMap, volume: int) -> bool:
        """True if a mark of these regions may have to be written to the file."""
        if self._file.failed or self.settled.concerned(volume, regions):
            return True
        covered = self.base is None or regions.issubset(self._marked[volume])
        return self._file.is_open and not covered

    def _reach(self, volume: int, first: int, end: int) -> int:
        """Where the mark of a write ends: further, where it goes on from the last."""
        if self.settled.copy is not None or not 0 <= self._next[volume] - first <= 1:
            return end
        regions = ((self.sizes[volume] - 1) >> self._shift) + 1
        return max(end, min(end + (_AHEAD_BYTES >> self._shift), regions))

    def _mend(self) -> None:
        """Replaces a file that takes nothing more: all that is marked is durable then.

        Raises:
            OSError: the disk still refuses.
        """
        if self._file.failed:
            self._rewrite(self.base or Base("", 0), self._marked, self.settled.copy)
            self._unsynced = [BitMap() for _ in self.sizes]

    def _touch_epoch(self, epoch: int) -> list[BitMap]:
        """Starts an epoch's bits; the oldest two share theirs where there are many."""
        if len(self._touched) >= _MOST_EPOCHS:
            older, newer = sorted(self._touched)[:2]
            joined = zip(self._touched[newer], self._touched.pop(older), strict=True)
            self._touched[newer] = [mine | theirs for mine, theirs in joined]
        return self._touched.setdefault(epoch, [BitMap() for _ in self.sizes])

    def unsynced(self, volume: int, offset: int, length: int) -> bool:
        """True if a mark of the extent may not survive power loss yet."""
        first, end = offset >> self._shift, ((offset + length - 1) >> self._shift) + 1
        return any(
            bitmaps[volume].range_cardinality(first, end)
            for bitmaps in (self._unsynced, *self._syncing)
        )

    def start_sync(self) -> list[BitMap]:
        """What is marked up to now, which the next `sync` makes durable.

        Two may be under way: one of a role that ended meanwhile, and the next role's.
        """
        started, self._unsynced = self._unsynced, [BitMap() for _ in self.sizes]
        self._syncing.append(started)
        return started

    def end_sync(self, started: list[BitMap], *, durable: bool) -> None:
        """The `sync` that began by `start_sync` is over, and succeeded or not."""
        self._syncing = [each for each in self._syncing if each is not started]
        if not durable:
            both = zip(started, self._unsynced, strict=True)
            self._unsynced = [syncing | unsynced for syncing, unsynced in both]

    def sync(self) -> None:
        """Makes the marks durable, on any thread; raises OSError."""
        self._file.sync()

    # What a resync has done.

    def welcomed(self, copy: Copy, committed: int | None) -> None:
        """A stream to this copy stands; what other copies settled is forgotten.

        Raises:
            OSError: the file could not be written.
        """
        same = self.base is not None and self.base.replica_id == copy.replica_id
        if same and committed is not None:
            for old in [e for e in self._touched if 0 <= e <= committed]:
                del self._touched[old]
        if self.settled.copy == copy:
            return
        self._mend()
        self.settled.start_copy(copy)
        self._file.append(self.settled.copy_record())

    def wanted(
        self, *, everything: bool, ahead: Sequence[Sequence[Extent]] = ()
    ) -> list[list[Extent]]:
        """What a resync must compare, less what is settled.

        Args:
            everything: all of it; otherwise what is dirty.
            ahead: extents of each volume that are dirty on the other side.
        """
        regions = self._live()
        for bitmap, extents in zip(regions, ahead, strict=False):
            for extent in extents:
                end = ((extent.end - 1) >> self._shift) + 1
                bitmap.add_range(extent.offset >> self._shift, end)
        if everything or self.base is None:
            regions = [BitMap(range(-(-s >> self._shift))) for s in self.sizes]
        both = zip(regions, self.settled.regions, strict=True)
        return self._all_extents([wanted - settled for wanted, settled in both])

    def finish_settle(self) -> None:
        """Settles what `settled.start` named.

        Raises:
            OSError: the file could not be written; nothing more is settled.
        """
        try:
            self._mend()
            content = self.settled.records_of_settling()
            if not self._file.is_open:
                self._file.start(self.sizes, self.settled)
            self._file.append(content)
        except OSError:
            self.settled.abandon()
            raise
        self.settled.finish()

    # After each commit.

    def committed(self, epoch: int, base: Base) -> None:
        """Takes a commit in; `start_clear` and `finish_clear` clear its bits."""
        for old in [e for e in self._touched if e <= epoch]:
            del self._touched[old]
        if self.base is not None and self.base.replica_id == base.replica_id:
            self.base = base

    @property
    def stale_regions(self) -> int:
        """Marked regions that no epoch above the last commit has written."""
        live = self._live()
        return sum(
            len(marked) - marked.intersection_cardinality(live[volume])
            for volume, marked in enumerate(self._marked)
        )

    def _live(self) -> list[BitMap]:
        return [
            BitMap.union(BitMap(), *(touched[volume] for touched in layers))
            for volume in range(len(self.sizes))
            for layers in [list(self._touched.values())]
        ]

    def start_clear(self) -> None:
        """From here on, what `finish_clear` keeps is noted.

        Between the two the disks are synced where power loss is to be survived: a
        write that power loss takes back differs from the other side's, and only its
        bit can tell.
        """
        self._keep = self._live()

    @property
    def clearing(self) -> bool:
        """True between `start_clear` and `finish_clear`."""
        return self._keep is not None

    def abandon_clear(self) -> None:
        """Keeps all bits after all."""
        self._keep = None

    def finish_clear(self, base: Base, *, durable: bool) -> None:
        """Rewrites the file with the bits that are still needed.

        Raises:
            OSError: the disk refused; the old file holds, and says more than it must.
        """
        keep, self._keep = self._keep or self._live(), None
        self._rewrite(base, keep, None, durable=durable)
        self._marked, self.base = keep, base

    def start(self, base: Base, blocks: Sequence[BitMap], *, durable: bool) -> None:
        """Starts anew, relative to another base.

        Args:
            base: what the bits are relative to from here on.
            blocks: the blocks of 4 KiB of each volume that differ from it already.
            durable: power loss is to be survived.

        Raises:
            OSError: the disk refused; what the log said before holds.
        """
        self._keep = None
        marked = [covering_blocks(each, self._shift) for each in blocks]
        self._rewrite(base, marked, None, durable=durable)
        self._marked, self.base = marked, base
        self._touched = {BEFORE_ALL_EPOCHS: [bitmap.copy() for bitmap in marked]}
        self._unsynced = [BitMap() for _ in self.sizes]

    def _rewrite(
        self,
        base: Base,
        marked: Sequence[BitMap],
        copy: Copy | None,
        *,
        durable: bool = True,
    ) -> None:
        """Replaces the file; nothing is settled in the new one."""
        self._file.replace(base, self.sizes, marked, durable=durable)
        self.settled.start_copy(copy)
        if copy is not None:
            self._file.append(self.settled.copy_record())

    def forget(self) -> None:
        """Says nothing any more: everything may differ."""
        self._keep = None
        self._file.remove()
        self.base = None
        self._marked = [BitMap() for _ in self.sizes]
        self.settled.start_copy(None)
        self._touched = {}

    def close(self) -> None:
        """Closes the file and keeps it."""
        self._file.close()
