"""What a BLOCK_STATUS reply may say, and how a disk is described for it."""

from __future__ import annotations

import itertools
import struct

from hypothesis import given
from hypothesis import strategies as st

from blkcolo.extents import Extent
from blkcolo.nbd.export import Allocation, AllocationExtent, allocation_of
from blkcolo.nbd.replies import block_status

_U32 = (1 << 32) - 1
_ZERO = Allocation.HOLE | Allocation.ZERO


def decoded(reply: bytes) -> list[tuple[int, int]]:
    assert struct.unpack_from(">I", reply, 16)[0] == len(reply) - 20
    return list(struct.iter_unpack(">II", reply[24:]))


@given(
    extents=st.lists(
        st.builds(
            AllocationExtent,
            st.integers(1, 1 << 40),
            st.sampled_from([Allocation.DATA, _ZERO]),
        ),
        min_size=1,
    ),
    length=st.integers(1, _U32),
    one=st.booleans(),
)
def test_status_never_says_more_than_was_asked_and_misplaces_nothing(
    extents: list[AllocationExtent], length: int, one: bool
) -> None:
    said = decoded(block_status(7, extents, length, one=one))
    assert said
    assert len(said) == 1 or not one
    assert sum(size for size, _ in said) <= length
    assert all(first[1] != second[1] for first, second in itertools.pairwise(said))
    at = 0
    for size, flags in said:
        for place in (at, at + size - 1):
            assert flags == flags_at(extents, place)
        at += size


def flags_at(extents: list[AllocationExtent], place: int) -> int:
    for extent in extents:
        if place < extent.length:
            return extent.flags
        place -= extent.length
    raise AssertionError(place)


def test_description_of_a_fragmented_disk_ends_early_and_is_true() -> None:
    data = (Extent(8192 * n, 4096) for n in range(1 << 20))
    found = allocation_of(data, 0, 1 << 33)
    assert len(found) < 10000
    assert found[0] == (4096, Allocation.DATA)
    assert found[1] == (4096, _ZERO)
    assert found[-1].flags == Allocation.DATA  # what follows is not known: not said


def test_description_of_a_sparse_disk_is_whole() -> None:
    data = [Extent(4096, 512)]
    assert allocation_of(data, 100, 10000) == [
        (3996, _ZERO),
        (512, Allocation.DATA),
        (10000 - 3996 - 512, _ZERO),
    ]
    assert allocation_of([], 0, 5) == [(5, _ZERO)]
