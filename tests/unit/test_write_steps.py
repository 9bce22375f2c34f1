"""Records of a batch in steps: the same bytes at the same places, in order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from blkcolo.stream import Batch, RecordKind, VolumeId
from blkcolo_secondary.buffer import save_and_write
from blkcolo_secondary.buffer.disk_buffer import DiskBuffer
from blkcolo_secondary.buffer.save_and_write import LONGEST_ZERO, Sync, steps
from tests.memory_files import MemoryFile, MemoryFolder

MIB = 1 << 20
DATA = int(RecordKind.DATA)
RECORD = st.tuples(
    st.sampled_from([DATA, DATA, int(RecordKind.ZERO), int(RecordKind.TRIM)]),
    st.integers(0, 2),
    st.integers(0, 40).map(lambda n: n * 4096),
    st.integers(1, 3).map(lambda n: n * 4096) | st.integers(1, 40 * MIB),
)


@given(st.lists(RECORD, max_size=30), st.sampled_from([MIB, MIB // 8, 4096]))
def test_steps_are_the_records_in_order_and_none_is_long(
    records: list[tuple[int, int, int, int]], step_bytes: int
) -> None:
    columns = [list(column) for column in zip(*records, strict=True)] or [[]] * 4
    expected, position = [], 0
    for kind, volume, offset, length in records:
        expected.append((kind, volume, offset, length, position if kind == DATA else 0))
        position += length if kind == DATA else 0
    found: list[tuple[int, int, int, int, int]] = []
    batch = Batch(1, columns[0], columns[1], columns[2], columns[3])
    for step in steps(batch, step_bytes):
        rows = list(zip(*(column.tolist() for column in step), strict=True))
        lengths = [row[3] for row in rows]
        assert len(rows) == 1 or sum(lengths) <= step_bytes
        assert all(k == DATA or n <= LONGEST_ZERO for k, _, _, n, _ in rows)
        found += rows
    assert list(pieces(found)) == list(pieces(expected))


def pieces(
    rows: list[tuple[int, int, int, int, int]],
) -> list[tuple[int, int, int, int, int]]:
    """Rows with all that goes on from the one before joined, kind by kind."""
    joined: list[tuple[int, int, int, int, int]] = []
    for kind, volume, offset, length, position in rows:
        at = position if kind == DATA else 0
        if joined:
            k, v, o, n, p = joined[-1]
            if (k, v, o + n) == (kind, volume, offset) and (
                kind != DATA or p + n == position
            ):
                joined[-1] = (k, v, o, n + length, p)
                continue
        joined.append((kind, volume, offset, length, at))
    return joined


def test_a_trim_of_a_huge_volume_is_cut_bit_by_bit() -> None:
    batch = Batch(
        1, [int(RecordKind.TRIM)] * 8192, [0] * 8192, [0] * 8192, [1 << 50] * 8192
    )
    first = next(steps(batch))
    assert first.lengths.tolist() == [LONGEST_ZERO]
    assert first.offsets.tolist() == [0]
    assert save_and_write._PARTS * LONGEST_ZERO < 1 << 50


def test_while_a_commit_is_awaited_its_calls_have_their_turn_sooner() -> None:
    disk = MemoryFile(MIB)
    buffer = DiskBuffer([VolumeId("v", "u", MIB)], [disk], MemoryFolder(), base=1)
    written = bytearray(MIB)

    def turns(epoch: int) -> int:
        """Applies 64 blocks; how often others had their turn."""
        content, blocks = bytes([epoch]) * 4096, range(0, MIB, 16384)
        columns = ([DATA] * 64, [0] * 64, [*blocks], [4096] * 64)
        for at in blocks:
            written[at : at + 4096] = content
        batch = Batch(epoch, *columns, payload=content * 64)
        return sum(step is None for step in buffer.apply(batch))

    assert turns(2) == 1
    buffer.seal(2)
    assert turns(3) == 2  # C(2) is awaited
    buffer.commit(2, 2)
    assert turns(3) == 1
    held = bytearray(MIB)
    disk.read_into(0, memoryview(held))
    assert held == written


def test_an_awaited_commit_costs_no_further_syncs_with_host() -> None:
    disk, volume = MemoryFile(MIB), VolumeId("v", "u", MIB)
    buffer = DiskBuffer([volume], [disk], MemoryFolder(), base=1, host=True)
    columns = ([DATA] * 64, [0] * 64, [*range(0, MIB, 16384)], [4096] * 64)

    def syncs(epoch: int) -> int:
        """Of a batch whose layer is there already."""
        batch = Batch(epoch, *columns, payload=bytes([epoch]) * (64 * 4096))
        list(buffer.layers.create(epoch))
        return sum(isinstance(step, Sync) for step in buffer.apply(batch))

    not_awaited = syncs(2)
    buffer.seal(2)
    assert syncs(3) == not_awaited == 1
