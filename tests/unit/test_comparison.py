"""What a comparison costs: the data that it reads, and nothing for holes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from blkcolo.extents import Extent
from blkcolo.stream import Ack, Verify
from blkcolo_primary.core.comparison import Comparison, Phase
from blkcolo_primary.core.outbox import Outbox
from blkcolo_primary.core.window import Window
from tests.memory_files import MemoryFile

_MIB = 1 << 20


def test_holes_are_compared_without_being_read() -> None:
    disk = MemoryFile(64 * _MIB)
    disk.write(32 * _MIB, b"x" * _MIB)
    outbox = Outbox(epoch=0, batch_bytes=_MIB)
    wanted = [[Extent(0, disk.size)]]
    comparison = Comparison(outbox, [disk], wanted, Window(_MIB, 64))
    steps = 0
    while comparison.phase is Phase.COMPARING:
        comparison.step()
        while (taken := outbox.take()) is not None:
            outbox.acknowledge(Ack(taken[0], taken[0], 0, buffer_full=False))
        steps += 1
    assert comparison.done_bytes == comparison.total_bytes == 64 * _MIB
    assert _MIB <= comparison.read_bytes <= 2 * _MIB
    assert steps < 8


#: Two volumes; of the first one the middle is not wanted.
_WANTED = [[Extent(0, _MIB), Extent(2 * _MIB, _MIB)], [Extent(0, 3 * _MIB)]]


@settings(max_examples=40, deadline=None)
@given(
    steps=st.integers(0, 7),
    volume=st.integers(0, 1),
    offset=st.integers(0, 3 * _MIB - 1),
    length=st.integers(1, 2 * _MIB),
)
def test_write_is_ahead_only_where_all_of_it_is_still_to_be_read(
    steps: int, volume: int, offset: int, length: int
) -> None:
    disks = [MemoryFile(3 * _MIB), MemoryFile(3 * _MIB)]
    for disk in disks:
        disk.write(0, b"x" * disk.size)
    outbox = Outbox(epoch=0, batch_bytes=_MIB)
    comparison = Comparison(outbox, disks, _WANTED, Window(_MIB, 64))
    for _ in range(steps):
        comparison.step()
    read_later = set()
    ahead = comparison.is_ahead(volume, offset, length)
    while outbox.take() is not None:
        pass
    while comparison.phase is Phase.COMPARING:
        comparison.step()
        while (taken := outbox.take()) is not None:
            seq, message = taken
            outbox.acknowledge(Ack(seq, seq, 0, buffer_full=False))
            assert isinstance(message, Verify)
            read_later |= {(e.volume, e.offset // 4096) for e in message.extents}
    first, last = offset // 65536 * 16, (offset + length - 1) // 65536 * 16
    touched = {(volume, block) for block in range(first, last + 1, 16)}
    assert ahead == (touched <= read_later)


def test_comparison_goes_on_where_the_vm_keeps_the_window_full() -> None:
    disk = MemoryFile(8 * _MIB)
    disk.write(0, b"x" * disk.size)
    outbox, window = Outbox(epoch=0, batch_bytes=_MIB), Window(_MIB, 4)
    comparison = Comparison(outbox, [disk], [[Extent(0, disk.size)]], window)
    turns = 0
    while comparison.done_bytes < disk.size:
        while not outbox.fills(window):
            outbox.data(0, 0, memoryview(b"y"))
        before = comparison.done_bytes
        while comparison.phase is Phase.COMPARING and comparison.step():
            pass
        assert comparison.done_bytes - before <= _MIB, "one message at most"
        applied = outbox.last_seq
        while outbox.take():
            pass
        outbox.acknowledge(Ack(applied, applied, 1))
        turns += 1
        assert turns < 20, "it waits for the VM to pause"
