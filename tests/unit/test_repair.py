"""Repairs that a verify sends: when they are taken, and what a death leaves of one."""

from __future__ import annotations

import pytest

from blkcolo.errors import DataLoss, Invalid
from blkcolo.stream import Barrier, Batch, Hello, extend_digest
from blkcolo_secondary.core.replica_options import ReplicaOptions
from blkcolo_secondary.core.replica_state import ReplicaState
from blkcolo_secondary.record.history import HistoryPolicy
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


def behind(first: Batch, batch: Batch) -> Batch:
    batch.digest = extend_digest(first.digest, batch)
    return batch


def kept(secondary: Secondary) -> list[int]:
    return [each.epoch for each in secondary.replica.checkpoints.available]


def with_history() -> tuple[Secondary, list[int], bytes]:
    """Two checkpoints, the first one kept; the content of the second."""
    secondary = Secondary(1, host=False)
    secondary.options = ReplicaOptions(
        reserve_bytes=4096, history=HistoryPolicy(keep=5)
    )
    secondary.start()
    secondary.connect()
    contents = [secondary.machine.rng.randbytes(SIZE) for _ in range(2)]
    return secondary, [secondary.commit(content) for content in contents], contents[1]


def write_beside_what_rotted(secondary: Secondary, epoch: int) -> Batch:
    """Saves the block as it is, in the epoch's layer."""
    flip(secondary)
    batch = write(epoch, 4096, b"news")
    secondary.deliver(batch)
    return batch


def commit(secondary: Secondary, batch: Batch) -> None:
    secondary.deliver(Barrier(batch.epoch, 1, batch.digest))
    for step in secondary.replica.checkpoints.commit_steps(batch.epoch, 1, 0.0):
        step.run()


def test_an_overlay_that_copied_what_rotted_ends_the_stream_until_it_is_dropped() -> (
    None
):
    secondary = Secondary(1, host=False)
    content = secondary.committed_at_first()
    epoch = secondary.connect()
    flip(secondary)
    secondary.replica.buffer.write(0, 4096, memoryview(b"mine"))
    with pytest.raises(DataLoss, match="the overlay may hold it"):
        secondary.deliver(repair(epoch, 4096, content[4096:8192]))
    assert secondary.replica.state is ReplicaState.FAULTED
    secondary.connect()
    secondary.commit(content)
    assert secondary.view() == content


def test_an_overlay_of_other_blocks_is_not_in_doubt() -> None:
    secondary = Secondary(1, host=False)
    content = secondary.committed_at_first()
    epoch = secondary.connect()
    flip(secondary)
    secondary.replica.buffer.write(0, 8192, memoryview(b"mine"))
    secondary.deliver(repair(epoch, 0, content[:16384]))
    assert secondary.replica.state is ReplicaState.RECEIVING
    assert secondary.view() == content[:8192] + b"mine" + content[8196:]


def test_kept_checkpoints_that_rest_on_a_layer_with_the_block_are_given_up() -> None:
    secondary, epochs, content = with_history()
    stream = secondary.replica.reception.stream
    assert stream is not None
    batch = write_beside_what_rotted(secondary, stream.epoch)
    commit(secondary, batch)
    assert kept(secondary) == [*epochs, batch.epoch]
    right = content[:4096] + b"news" + content[4100:]
    secondary.deliver(repair(stream.epoch, 4096, right[4096:8192]))
    assert kept(secondary) == [batch.epoch]
    assert secondary.replica.state is ReplicaState.RECEIVING
    assert secondary.view() == right


def test_kept_checkpoints_that_have_the_block_on_the_disk_stay() -> None:
    secondary, epochs, content = with_history()
    stream = secondary.replica.reception.stream
    assert stream is not None
    batch = write(stream.epoch, 8192, b"news")  # another block
    secondary.deliver(batch)
    commit(secondary, batch)
    flip(secondary)
    secondary.deliver(repair(stream.epoch, 4096, content[4096:8192]))
    # The second one overwrote all: what leads back from it to the first is in doubt.
    assert kept(secondary) == [epochs[1], batch.epoch]
    seen = bytearray(SIZE)
    secondary.replica.buffer.read_into(0, 0, memoryview(seen), at=epochs[1])
    assert seen == content


@pytest.mark.parametrize("restarts", [False, True])
def test_a_layer_in_doubt_above_the_base_is_kept_by_no_commit(restarts: bool) -> None:
    secondary, epochs, content = with_history()
    epoch = secondary.connect()
    first = write_beside_what_rotted(secondary, epoch)
    right = content[:4096] + b"news" + content[4100:]
    with pytest.raises(DataLoss, match="an undo layer may hold it"):
        secondary.deliver(behind(first, repair(epoch, 4096, right[4096:8192])))
    assert epochs[1] in kept(secondary)  # failover leads there, until the next commit
    if restarts:
        secondary.start()
    secondary.connect()
    committed = secondary.commit(right)
    assert kept(secondary) == [committed]
    secondary.commit(content)
    assert committed in kept(secondary)  # the doubt is over
