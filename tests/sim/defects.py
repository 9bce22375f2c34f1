"""Deliberate defects: the simulation must find every one of them.

    python -m tests.sim.defects                          all of them
    python -m tests.sim.defects "overlay lost at a restart"

Each is a patch of one place in the source of a service. It is applied while the module
is imported, in a process of its own: the tree never changes.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import multiprocessing
import sys
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

# Imported once, before the processes part.
import crc32c  # noqa: F401 - see above
import numpy as np  # noqa: F401 - see above
import pyroaring  # noqa: F401 - see above

from tests.sim.defect import Defect
from tests.sim.role_defects import ROLE_DEFECTS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import CodeType, ModuleType

#: A defect that so many seeds do not find is not found.
MOST_SEEDS = 1280


_S = "blkcolo_secondary."
_P = "blkcolo_primary."
_C = "blkcolo_coordinator."

DEFECTS = (
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
    # The stream.
    Defect(
        "ack before apply",
        _S + "stream.receiver",
        "        self.received = seq\n",
        "        self.received = self.applied = seq\n",
    ),
    Defect(
        "gap in the stream ignored",
        _S + "stream.receiver",
        "        if seq != self.received + 1:\n",
        "        if seq <= self.received:\n",
    ),
    Defect(
        "barrier digest ignored",
        _S + "stream.receiver",
        "if (barrier.records, barrier.digest) != (self._records, self._digest):",
        "if False:",
    ),
    Defect(
        "checksum ignored",
        _S + "stream.receiver",
        "if crc32c(data) != checksum:",
        "if False:",
    ),
    Defect(
        "mismatch not sent again",
        _P + "core.forwarder",
        "            resyncing.resync.repair(mismatch)\n",
        "            pass\n",
    ),
    Defect(
        "write behind the cursor of a resync not sent",
        _P + "core.comparison",
        " or (volume, offset) < self._cursor:",
        ":",
    ),
    Defect(
        "write that a resync does not look at not sent",
        _P + "core.comparison",
        "return found >= 0 and offset + length <= extents[found].end",
        "return True",
    ),
    # Logs on disk.
    Defect(
        "torn tail accepted",
        "blkcolo.storage.records",
        "if record is None or record.end > size:",
        "if record is None:",
    ),
    Defect(
        "damaged middle accepted",
        "blkcolo.storage.records",
        "        if not self._host and not torn:\n",
        "        if False:\n",
    ),
    Defect(
        "damage below a watermark accepted (host)",
        "blkcolo.storage.records",
        "            if watermark is not None:\n",
        "            if False:\n",
    ),
    # Generations.
    Defect(
        "stale generation accepted",
        _S + "core.standing",
        "            generation,\n            self.generation,\n",
        "            max(generation, self.generation),\n            self.generation,\n",
    ),
    Defect(
        "stale generation accepted by the primary",
        _P + "core.standing",
        "self.group, generation, self.generation, brought_by=brought_by",
        "self.group, max(generation, self.generation), self.generation,"
        " brought_by=brought_by",
    ),
    Defect(
        "generation not stored before it is used",
        _P + "core.forwarder",
        "        standing.remember(generation, fenced=True)\n",
        "",
    ),
    Defect(
        "journal not synced when a generation is taken (host)",
        _S + "record.group_journal",
        "                self.sync()\n            except BlkcoloError:\n",
        "                pass\n            except BlkcoloError:\n",
    ),
    Defect(
        "failover without a new generation",
        _C + "runs.failover_run",
        "Step.FENCE_PRIMARY if fenced else Step.RAISE_GENERATION\n"
        "        else:\n            self.step = Step.RAISE_GENERATION\n",
        "Step.FENCE_PRIMARY\n"
        "        else:\n            self.step = Step.FENCE_PRIMARY\n",
    ),
    # The primary's writes and its intent log.
    Defect(
        "intent bit set after the write",
        _P + "vm.local_writes",
        "        self._writes.intend(volume, offset, length)\n",
        "        self._core.disks[volume].write(offset, b'')\n",
    ),
    Defect(
        "intent bits of a burst set after it",
        _P + "vm.local_writes",
        "            writes.intend_each(volume, offsets, len(pieces[0]))\n",
        "            _write(core.disks[volume], offsets, pieces)\n"
        "            writes.intend_each(volume, offsets, len(pieces[0]))\n",
    ),
    Defect(
        "the rest of a burst is done behind a refused write",
        _P + "vm.local_writes",
        "            return number\n",
        "            continue\n",
    ),
    Defect(
        "a burst touches no epoch",
        "blkcolo.intent.log",
        "        touched[volume] |= regions\n",
        "",
    ),
    Defect(
        "a burst is not marked where others were",
        "blkcolo.intent.log",
        "        return self._file.is_open and not covered\n",
        "        return self._file.is_open and not self._marked[volume]\n",
    ),
    Defect(
        "a burst unsettles nothing",
        "blkcolo.intent.log",
        "if self._file.failed or self.settled.concerned(volume, regions):",
        "if self._file.failed:",
    ),
    Defect(
        "intent cleared too early",
        "blkcolo.intent.log",
        "for old in [e for e in self._touched if e <= epoch]:",
        "for old in list(self._touched):",
    ),
    Defect(
        "protected without a stream",
        _P + "core.forwarder",
        "        self.standing.state = state\n",
        "",
    ),
    # Changes of role.
    *ROLE_DEFECTS,
)


def occurrences(defect: Defect) -> int:
    """How often the old text is in the module's source."""
    spec = importlib.util.find_spec(defect.module)
    assert spec is not None
    assert isinstance(spec.loader, importlib.machinery.SourceFileLoader)
    source: str = spec.loader.get_source(defect.module) or ""
    return source.count(defect.old)


class _PatchedLoader(importlib.machinery.SourceFileLoader):
    """Loads the module with its defect; never from or into the cache."""

    def __init__(self, defect: Defect, path: str) -> None:
        super().__init__(defect.module, path)
        self._defect = defect

    def get_code(self, fullname: str) -> CodeType:
        source = self.get_source(fullname) or ""
        changed = source.replace(self._defect.old, self._defect.new)
        assert changed != source, f"{self._defect.name}: its text is not there"
        code: CodeType = self.source_to_code(changed, self.path)
        return code


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the defective module before the sound one is found."""

    def __init__(self, defect: Defect) -> None:
        self._defect = defect

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if fullname != self._defect.module:
            return None
        found = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        assert found is not None
        assert found.origin is not None
        loader = _PatchedLoader(self._defect, found.origin)
        return importlib.util.spec_from_file_location(
            fullname, found.origin, loader=loader
        )


class Found(NamedTuple):
    """What became of a defect; no seed: it was not found."""

    name: str
    seed: int | None
    what: str


#: These say that the patch itself does not fit, not that the simulation found it.
_MISFITS = ("NameError", "AttributeError", "TypeError", "ImportError", "SyntaxError")


def find(name: str) -> Found:
    """Runs seeds until one finds the defect; in a process that is used for it only."""
    defect = next(d for d in DEFECTS if d.name == name)
    sys.meta_path.insert(0, _Finder(defect))
    from tests.sim.scenario import seeds_of  # noqa: PLC0415 - behind the finder
    from tests.sim.seeds import run_seed  # noqa: PLC0415 - behind the finder

    of_roles = defect in ROLE_DEFECTS
    for seed in islice(seeds_of(changes_roles=of_roles), MOST_SEEDS):
        failure = run_seed(seed)
        if failure is not None:
            misfit = failure.what.startswith(_MISFITS)
            return Found(name, None if misfit else seed, failure.what)
    return Found(name, None, f"not found by {MOST_SEEDS} seeds")


def main(names: Sequence[str]) -> int:
    """Finds all of them, or those named; the exit code is how many were not found.

    One line each: the name, the seed or -, and what was found, between tabs.
    """
    wanted = names or [defect.name for defect in DEFECTS]
    missed = 0
    with multiprocessing.get_context("fork").Pool(maxtasksperchild=1) as pool:
        for found in pool.imap(find, wanted, chunksize=1):
            seed = "-" if found.seed is None else str(found.seed)
            print(found.name, seed, found.what.splitlines()[0], sep="\t")  # noqa: T201 - for people
            missed += found.seed is None
    return missed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
