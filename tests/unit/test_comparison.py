"""What a comparison costs: the data that it reads, and nothing for holes."""

from __future__ import annotations

from blkcolo.extents import Extent
from blkcolo.stream import Ack
from blkcolo_primary.comparison import Comparison, Phase
from blkcolo_primary.outbox import Outbox
from tests.memory_files import MemoryFile

_MIB = 1 << 20


def test_holes_are_compared_without_being_read() -> None:
    disk = MemoryFile(64 * _MIB)
    disk.write(32 * _MIB, b"x" * _MIB)
    outbox = Outbox(epoch=0, batch_bytes=_MIB)
    wanted = [[Extent(0, disk.size)]]
    comparison = Comparison(outbox, [disk], wanted, window_bytes=_MIB)
    steps = 0
    while comparison.phase is Phase.COMPARING:
        comparison.step()
        while (taken := outbox.take()) is not None:
            outbox.acknowledge(Ack(taken[0], taken[0], 0, buffer_full=False))
        steps += 1
    assert comparison.done_bytes == comparison.total_bytes == 64 * _MIB
    assert _MIB <= comparison.read_bytes <= 2 * _MIB
    assert steps < 8
