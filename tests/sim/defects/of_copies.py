"""Deliberate defects of the secondary: its Disk Buffer, its view, its commits."""

from __future__ import annotations

from tests.sim.defects.defect import Defect

_S = "blkcolo_secondary."

OF_COPIES = (
    # The Disk Buffer.
    Defect(
        "save after overwrite",
        _S + "buffer.disk_buffer",
        "        saved = step.save(layer)\n",
        "        step.write()\n        saved = step.save(layer)\n",
    ),
    Defect(
        "undo not synced before the disk write (host)",
        _S + "buffer.disk_buffer",
        "            yield Sync(saved.sync)\n",
        "            pass\n",
    ),
    Defect(
        "name of an undo layer not synced (host)",
        _S + "buffer.layer_stack",
        "            yield Sync(self._files.sync_names)\n",
        "            yield from ()\n",
    ),
    Defect(
        "drop of a layer above the commit",
        _S + "buffer.disk_buffer",
        "self.layers.drop(lambda e: e <= oldest_kept)",
        "self.layers.drop(lambda e: e <= oldest_kept + 1)",
    ),
    Defect(
        "newest layer wins in the view",
        _S + "buffer.disk_buffer",
        "above = self.layers.above(self.base) if",
        "above = self.layers.above(self.base)[::-1] if",
    ),
    Defect(
        "oldest layer undone first",
        _S + "core.flush",
        "in reversed(buffer.layers.above(base)):",
        "in buffer.layers.above(base):",
    ),
    Defect(
        "holes saved as data that is not there",
        _S + "buffer.undo_layer",
        "if run.position == HOLE:",
        "if run.position != HOLE:",
    ),
    Defect(
        "blocks of kept checkpoints taken for those of a lost stream",
        _S + "buffer.disk_buffer",
        "start_stream(epoch, -1 if self.base is None else self.base)",
        "start_stream(epoch, -1)",
    ),
    Defect(
        "blocks of a lost stream not saved for the second epoch either",
        _S + "buffer.layer_stack",
        "if self._first is None or self._first[0] != epoch:",
        "if self._first is None:",
    ),
    # Overlay and failover.
    Defect(
        "overlay lost at a restart",
        _S + "buffer.overlay",
        "        self._marks.add(MarkKind.PRESENT, *blocks)\n",
        "",
    ),
    Defect(
        "overlay kept by a commit",
        _S + "buffer.disk_buffer",
        "oldest_kept)\n        self.overlays.drop(epoch)\n",
        "oldest_kept)\n",
    ),
    Defect(
        "edges of an overlay block not copied up",
        _S + "buffer.overlays",
        "if covered or block in overlay.blocks:",
        "if True:",
    ),
    Defect(
        "layers above the base kept behind a failover",
        _S + "buffer.disk_buffer",
        "and (not undone or epoch <= base)",
        "and True",
    ),
    Defect(
        "overlay settled over a newer write",
        _S + "buffer.disk_buffer",
        "        self.overlays.settle(volume, disk, covering(offset, len(data)))\n",
        "",
    ),
    Defect(
        "disk not synced before the end of a rollback (host)",
        _S + "core.flush",
        "    if buffer.host:\n        yield Sync(buffer.sync_disks)\n",
        "",
    ),
    # Commits.
    Defect(
        "commit record before the disks are synced (host)",
        _S + "core.checkpoints",
        "            yield Sync(self._buffer.sync_disks)\n",
        "            pass\n",
    ),
    Defect(
        "commit answered before its record is synced (host)",
        _S + "core.checkpoints",
        "            yield Sync(self._journal.sync)\n",
        "            pass\n",
    ),
    Defect(
        "replayed commit goes back",
        _S + "core.checkpoints",
        "            return False\n        stream = self._reception",
        "            return True\n        stream = self._reception",
    ),
    Defect(
        "checkpoint pruned while it is read",
        _S + "record.history",
        "while len(kept) > 1 and kept[0].epoch not in in_use:",
        "while len(kept) > 1:",
    ),
)
