"""A stream that stands: its queue, its epochs, and the comparison it begins with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blkcolo_primary.core.comparison import Comparison, Phase
from blkcolo_primary.core.outbox import Outbox
from blkcolo_primary.core.settler import Settler
from blkcolo_primary.core.stream_epochs import StreamEpochs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blkcolo.extents import Extent
    from blkcolo.intent.log import IntentLog
    from blkcolo.storage.files import BlockFile
    from blkcolo_primary.core.window import Window


class ForwardStream:
    """One stream, from its welcome to its end.

    Attributes:
        outbox: what it still has to send, and still waits for.
        epochs: those that ended in it, and those that are committed.
        resync: its comparison.
        settler: keeps what that has done.
    """

    def __init__(
        self,
        group: str,
        epoch: int,
        wanted: Sequence[Sequence[Extent]],
        disks: Sequence[BlockFile],
        intent: IntentLog,
        *,
        batch_bytes: int,
        comparison_window: Window,
        host: bool,
        settle_bytes: int | None,
    ) -> None:
        """Nothing is sent yet.

        Args:
            group: its group, for errors.
            epoch: the one that it begins in.
            wanted: what is to be compared, by volume.
            disks: the volumes' disks.
            intent: where compared regions are settled.
            batch_bytes: bound of a batch's payload.
            comparison_window: what may be in flight beside it; see `Comparison`.
            host: power loss is to be survived.
            settle_bytes: compared bytes that an interruption costs; None: the default.
        """
        self.outbox = Outbox(epoch, batch_bytes)
        self.epochs = StreamEpochs(group, self.outbox)
        self.resync = Comparison(self.outbox, disks, wanted, comparison_window)
        self.settler = Settler(
            intent, self.resync, self.outbox, host=host, portion=settle_bytes
        )

    def resync_step(self) -> bool:
        """Goes on with the resync; False if the secondary must answer first.

        Raises:
            OSError: a disk could not be read, or the intent log not written.
        """
        self.settler.step()
        return self.resync.step()

    @property
    def agreed(self) -> bool:
        """True when the resync is complete: both sides hold the same."""
        return self.resync.phase is Phase.DONE
