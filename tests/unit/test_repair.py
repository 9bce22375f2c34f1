"""Repairs that a verify sends: when they are taken, and what a death leaves of one."""

from __future__ import annotations

import pytest

from blkcolo.errors import DataLoss, Invalid
from blkcolo.stream import Batch, Hello, extend_digest
from tests.secondary_core import SIZE, VOLUMES, Secondary, write
from tests.sim.disks import Crash

_OFFSET = 4096 + 100


def repair(epoch: int, offset: int, data: bytes) -> Batch:
    batch = write(epoch, offset, data)
    batch.repairs = True
    batch.digest = extend_digest(0, batch)
    return batch


def flip(secondary: Secondary) -> None:
    secondary.machine.images[0].content[_OFFSET] ^= 0x55


def test_a_repair_before_the_contents_agreed_is_refused() -> None:
    """What differs then may be the last checkpoint: it must be saved."""
    secondary = Secondary(1, host=False)
    content = secondary.committed_at_first()
    welcome = secondary.replica.reception.hello(Hello("vm", 1, VOLUMES))
    secondary.seq = 1
    with pytest.raises(Invalid, match="not compared yet"):
        secondary.deliver(repair(welcome.epoch, 0, bytes(SIZE)))
    assert secondary.view() == content


@pytest.mark.parametrize("host", [False, True])
def test_a_repair_that_is_cut_leaves_nothing_but_what_it_found_or_wrote(
    host: bool,
) -> None:
    for seed in range(20):
        secondary = Secondary(seed, host=host)
        content = secondary.committed_at_first()
        epoch = secondary.connect()
        flip(secondary)
        secondary.machine.fuse = 1
        with pytest.raises(Crash):
            secondary.deliver(repair(epoch, 4096, content[4096:8192]))
        secondary.machine.crashed()
        secondary.start()
        seen = bytearray(secondary.view())
        assert seen[_OFFSET] in (content[_OFFSET], content[_OFFSET] ^ 0x55)
        seen[_OFFSET] = content[_OFFSET]
        assert seen == content


def test_a_repair_of_a_block_that_undo_has_is_done_and_ends_the_stream() -> None:
    secondary = Secondary(1, host=False)
    content = bytearray(secondary.committed_at_first())
    epoch = secondary.connect()
    flip(secondary)
    first = write(epoch, 4096, b"news")
    secondary.deliver(first)
    content[4096:4100] = b"news"
    batch = write(epoch, 4096, bytes(content[4096:8192]))
    batch.repairs = True
    batch.digest = extend_digest(first.digest, batch)
    with pytest.raises(DataLoss, match="changed by itself"):
        secondary.deliver(batch)
    assert secondary.machine.images[0].content == content
