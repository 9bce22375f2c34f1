"""What becomes of the files that a commit drops."""

from __future__ import annotations

from blkcolo.stream import Barrier
from tests.secondary_core import SIZE, Secondary, write


def undo_files(secondary: Secondary) -> list[str]:
    names = secondary.machine.folder.names()
    return [n for n in names if n.startswith("undo-")]


def test_files_stay_while_the_commit_that_dropped_them_is_not_durable() -> None:
    secondary = Secondary(1, host=True)
    first = secondary.committed_at_first()
    stream = secondary.replica.reception.stream
    assert stream is not None
    epoch = stream.epoch
    batch = write(epoch, 0, bytes(SIZE))
    secondary.deliver(batch)
    secondary.deliver(Barrier(epoch, 1, batch.digest))
    steps = secondary.replica.checkpoints.commit_steps(epoch, 1, 0.0)
    for step in steps:
        if step.run.__self__ is secondary.replica.journal:  # type: ignore[attr-defined] # a method
            break
        step.run()
    # Somebody else wants to remove what was dropped: a damaged layer, say.
    assert secondary.replica.dropped.take() is None
    assert undo_files(secondary) == [f"undo-{epoch}"]
    secondary.machine.crashed()  # the power is lost
    secondary.start()
    assert secondary.view() in (first, bytes(SIZE))
