"""Streams that are lost again and again before a commit: what that costs the buffer."""

from __future__ import annotations

import pytest

from blkcolo.stream import Barrier
from tests.secondary_core import SIZE, Secondary, write


@pytest.mark.parametrize("host", [False, True])
def test_each_block_is_saved_once_however_often_the_stream_is_lost(
    *, host: bool
) -> None:
    secondary = Secondary(1, host=host)
    content = secondary.committed_at_first()
    held, epoch = [], 0
    for life in range(8):
        if life == 4:
            secondary.start()  # as after a kill -9
        epoch = secondary.connect()
        secondary.deliver(write(epoch, 0, bytes([life + 1]) * SIZE))
        held.append(secondary.replica.buffer.buffer_bytes)
        assert secondary.view() == content
    assert SIZE <= held[0] == held[-1] < 2 * SIZE
    # The next epoch of this stream may be committed alone: it saves for itself.
    secondary.deliver(Barrier(epoch, 1, write(epoch, 0, bytes([8]) * SIZE).digest))
    secondary.deliver(write(epoch + 1, 0, bytes(SIZE)))
    for step in secondary.replica.checkpoints.commit_steps(epoch, 1, 0.0):
        step.run()
    assert secondary.view() == bytes([8]) * SIZE


@pytest.mark.parametrize("seed", range(20))
def test_old_content_is_synced_although_its_stream_was_lost_before(seed: int) -> None:
    """Saved, the sync not done, the stream lost; the next one overwrites the block."""
    secondary = Secondary(seed, host=True)
    content = secondary.committed_at_first()
    epoch = secondary.connect()
    secondary.deliver(write(epoch, 4096, b"a" * 8192), syncs=False)
    epoch = secondary.connect()
    secondary.deliver(write(epoch, 4096, b"b" * 8192))
    secondary.machine.crashed()
    secondary.start()
    assert secondary.view() == content
