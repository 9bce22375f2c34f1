"""Deliberate defects of the stream, of generations, and of logs."""

from __future__ import annotations

from tests.sim.defects.defect import Defect

_S = "blkcolo_secondary."
_P = "blkcolo_primary."
_C = "blkcolo_coordinator."

OF_FORWARDING = (
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
    Defect(
        "start from before a stop taken",
        _P + "core.forwarder",
        "        standing.stop_mark += 1\n",
        "",
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
)
