"""The oracle itself: a cut of the load passes, and one wrong byte does not."""

from __future__ import annotations

import pytest

from tests.fault.recorded_disk import (
    PAGE,
    SECTOR,
    Load,
    RecordedDisks,
    Write,
    Wrong,
    mark_of,
)

SIZES = (1 << 20, (256 << 10) + 512)
SEED = 7


def disks_at(load: Load, number: int, *, mark: int | None = None) -> list[bytes]:
    """The volumes after `number` writes, and the mark of the last or of `mark`."""
    images = [bytearray(size) for size in SIZES]
    for each in range(1, number + 1):
        RecordedDisks.apply(images, load.write(each))
    images[0][:SECTOR] = mark_of(number if mark is None else mark)
    return [bytes(image) for image in images]


def flipped(found: list[bytes], volume: int, offset: int) -> list[bytes]:
    changed = [bytearray(image) for image in found]
    changed[volume][offset] ^= 1
    return [bytes(image) for image in changed]


def longest(load: Load, numbers: range) -> int:
    """A number whose write covers several whole pages with data."""
    return max(numbers, key=lambda n: load.write(n).length if load.write(n).data else 0)


def test_every_cut_passes_and_says_where_it_is() -> None:
    load = Load(SEED, SIZES)
    oracle = RecordedDisks(load)
    for number in (1, 2, 40, 41):
        assert oracle.check(disks_at(load, number), number, number) == number
        if number < 41:
            between = disks_at(load, number + 1, mark=number)
            assert oracle.check(between, number, number + 1) == number


@pytest.mark.parametrize("volume", [0, 1])
@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_one_wrong_byte_on_the_disk_fails(volume: int, place: str) -> None:
    load = Load(SEED, SIZES)
    offset = {"first": SECTOR, "middle": SIZES[volume] // 2, "last": SIZES[volume] - 1}
    with pytest.raises(Wrong, match=rf"volume {volume} differs at byte"):
        RecordedDisks(load).check(
            flipped(disks_at(load, 60), volume, offset[place]), 60, 99
        )


@pytest.mark.parametrize("volume", [0, 1])
def test_one_wrong_byte_in_the_record_fails(volume: int) -> None:
    load = Load(SEED, SIZES)
    oracle = RecordedDisks(load)
    oracle.check(disks_at(load, 60), 60, 60)
    oracle.images[volume][SIZES[volume] // 2] ^= 1
    with pytest.raises(Wrong, match=rf"volume {volume} differs at byte"):
        oracle.check(disks_at(load, 60), 60, 60)


def test_older_or_newer_cut_than_the_checkpoint_fails() -> None:
    load = Load(SEED, SIZES)
    for number in (49, 61):
        with pytest.raises(Wrong, match=f"mark {number} was found"):
            RecordedDisks(load).check(disks_at(load, number), 50, 60)
    oracle = RecordedDisks(load)
    oracle.check(disks_at(load, 60), 50, 60)
    with pytest.raises(Wrong, match="which was found before"):
        oracle.check(disks_at(load, 59), 50, 60)


def test_write_that_is_missing_or_came_too_soon_fails() -> None:
    load = Load(SEED, SIZES)
    number = longest(load, range(30, 60))
    missing = disks_at(load, number - 1, mark=number)
    with pytest.raises(Wrong):
        RecordedDisks(load).check(missing, number, number)
    too_soon = disks_at(load, number, mark=number - 1)
    with pytest.raises(Wrong):
        RecordedDisks(load).check(too_soon, number - 1, number - 1)


def test_volumes_of_two_cuts_fail() -> None:
    load = Load(SEED, SIZES)
    on_second = [n for n in range(2, 80) if load.write(n).volume == 1]
    mixed = [disks_at(load, 80)[0], disks_at(load, on_second[-2])[1]]
    with pytest.raises(Wrong, match="volume 1"):
        RecordedDisks(load).check(mixed, 80, 80)


def half_done(load: Load, number: int) -> tuple[list[bytes], Write, int]:
    """All before `number`, and the first of its pages; the byte behind that."""
    write = load.write(number)
    assert write.data is not None
    end = (write.offset // PAGE + 1) * PAGE
    images = [bytearray(i) for i in disks_at(load, number - 1)]
    images[write.volume][write.offset : end] = write.data[: end - write.offset]
    return [bytes(i) for i in images], write, end


def test_half_a_write_passes_only_where_the_primary_died_in_it() -> None:
    load = Load(SEED, SIZES)
    number = longest(load, range(30, 60))
    found, write, end = half_done(load, number)
    with pytest.raises(Wrong):
        RecordedDisks(load).check(found, number - 1, number)
    load.interrupted.add(number)
    assert RecordedDisks(load).check(found, number - 1, number) == number - 1
    wrong = flipped(found, write.volume, end + 5)
    with pytest.raises(Wrong):
        RecordedDisks(load).check(wrong, number - 1, number)


def test_number_after_an_interrupted_one_repeats_its_extent() -> None:
    load = Load(SEED, SIZES)
    load.interrupted.update({20, 21})
    writes = [load.write(n) for n in (20, 21, 22)]
    assert len({(w.volume, w.offset, w.length) for w in writes}) == 1
    found = disks_at(load, 22)
    assert RecordedDisks(load).check(found, 22, 22) == 22
    half = disks_at(load, 22, mark=19)
    assert RecordedDisks(load).check(half, 19, 22) == 19
