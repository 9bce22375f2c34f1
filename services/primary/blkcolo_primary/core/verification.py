"""Online verify: everything is compared in stream order while the VM writes on.

What differs is kept for the report and repaired through the stream. Both sides had
agreed, so what differs has rotted: a repair is told from a write there, and the
secondary does not save what it overwrites (`buffer.repair` there says why). Where the
stream is lost before the repair is applied, the next one's resync sends the block as a
write, and what rotted is saved like any old content. The first checkpoint that is
committed after a complete pass is a verified one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from blkcolo.extents import BLOCK_SIZE, Extent
from blkcolo_primary.core.comparison import Comparison, Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from blkcolo.errors import BlkcoloError
    from blkcolo.storage.files import BlockFile
    from blkcolo.stream import Mismatch
    from blkcolo_primary.core.outbox import Outbox
    from blkcolo_primary.core.window import Window

#: Findings beyond these are counted, not listed.
_MOST_FINDINGS = 1000


class Finding(NamedTuple):
    """An extent whose content was another one on the secondary."""

    volume: int
    extent: Extent


class VerifyPass:
    """One pass over all volumes.

    Attributes:
        number: counts passes since the service started, from 1.
        scrub: it runs of itself, at the pace of a scrub.
        comparison: how far it is.
        findings: what differed, the first thousand.
        failure: why it ended early; None while it runs and when it is complete.
    """

    def __init__(
        self,
        number: int,
        outbox: Outbox,
        disks: Sequence[BlockFile],
        window: Window,
        *,
        scrub: bool,
    ) -> None:
        """Plans it; see `Comparison`."""
        self.number = number
        self.scrub = scrub
        self.findings: list[Finding] = []
        self.failure: BlkcoloError | None = None
        self.outbox = outbox
        wanted = [[Extent(0, disk.size)] for disk in disks]
        self.comparison = Comparison(outbox, disks, wanted, window)

    @property
    def complete(self) -> bool:
        """True when everything was compared, and repaired where it differed."""
        return self.comparison.phase is Phase.DONE

    @property
    def ended(self) -> bool:
        """True when nothing more comes."""
        return self.complete or self.failure is not None

    @property
    def differing_blocks(self) -> int:
        """Blocks of 4 KiB in the extents that differed."""
        return -(-self.comparison.differing_bytes // BLOCK_SIZE)

    def step(self) -> bool:
        """Goes on; False if the secondary must answer first; raises OSError."""
        stepped = self.comparison.step()
        self.comparison.take_answered()
        return stepped

    def found(self, mismatch: Mismatch) -> list[Finding]:
        """Keeps what differs; returns it."""
        found = [
            Finding(e.volume, Extent(e.offset, e.length)) for e in mismatch.extents
        ]
        self.findings.extend(found[: _MOST_FINDINGS - len(self.findings)])
        return found


class Verification:
    """The verify passes of one group.

    Attributes:
        current: the pass that runs, or the last one; None before the first.
        checkpoint: the newest checkpoint that is known to be verified.
        differing_blocks: what all passes found, in blocks of 4 KiB.
    """

    def __init__(self) -> None:
        """Nothing was verified yet."""
        self.current: VerifyPass | None = None
        self.checkpoint: int | None = None
        self.differing_blocks = 0
        self._count = 0
        #: The first epoch whose barrier lies behind the last complete pass.
        self._verified_from: int | None = None

    @property
    def running(self) -> VerifyPass | None:
        """The pass that runs."""
        current = self.current
        return None if current is None or current.ended else current

    def start(
        self,
        outbox: Outbox,
        disks: Sequence[BlockFile],
        window: Window,
        *,
        scrub: bool,
    ) -> VerifyPass:
        """Starts a pass over everything; see `Comparison`."""
        self._count += 1
        self.current = VerifyPass(self._count, outbox, disks, window, scrub=scrub)
        return self.current

    def step(self, epoch: int) -> bool:
        """Goes on with the pass; False if the secondary must answer first.

        Args:
            epoch: the one that VM writes belong to.

        Raises:
            OSError: a disk could not be read.
        """
        running = self.running
        if running is None:
            return False
        stepped = running.step()
        if running.complete:
            self._verified_from = epoch
        return stepped

    def repair(
        self, mismatch: Mismatch, intend: Callable[[int, int, int], object]
    ) -> list[Finding]:
        """Sends again what differs, if a pass runs; returns what it found.

        Args:
            mismatch: what the secondary answered.
            intend: marks an extent of a volume, which differs until that is applied.

        Raises:
            OSError: a disk could not be read, or the intent log not written.
        """
        running = self.running
        if running is None:
            return []
        found = running.found(mismatch)
        for finding in found:
            intend(finding.volume, *finding.extent)
        before = running.differing_blocks
        with running.outbox.repairs():
            running.comparison.repair(mismatch)
        self.differing_blocks += running.differing_blocks - before
        return found

    def committed(self, epoch: int) -> bool:
        """A checkpoint was committed; True if it is the first behind a pass."""
        if self._verified_from is None or epoch < self._verified_from:
            return False
        self._verified_from, self.checkpoint = None, epoch
        return True

    def end(self, error: BlkcoloError) -> None:
        """The stream ended, and with it the pass that ran."""
        if self.running is not None:
            self.running.failure = error
        self._verified_from = None
