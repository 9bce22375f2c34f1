"""What the disks must hold at each point of a numbered load.

Write n of a seed is always the same, so the load needs no record: only its progress.
Each write is followed by a *mark*: its number, in the first sector of the first
volume. Both go through one connection, one after the other, so that the primary's
order is known, and any consistent cut of the group is one of

    mark n                      writes 1..n, whole
    mark n, and write n + 1     cut between a write and its mark

A write that was under way when the primary died may be there, not at all, or some of
its pages: such a write is `interrupted`, and the next number repeats its extent. Only
until then its pages may hold either content; everything else is exact.
"""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SECTOR = 512
PAGE = 4096
_MARK = struct.Struct(">8sQ")
_MAGIC = b"recorded"
_LARGEST = 128 << 10


class Write(NamedTuple):
    """One write; without data, a zero that may trim."""

    volume: int
    offset: int
    length: int
    data: bytes | None


def mark_of(number: int) -> bytes:
    """The sector that says: writes up to this one were answered."""
    return _MARK.pack(_MAGIC, number).ljust(SECTOR, b"\0")


def number_in(content: bytes | bytearray) -> int:
    """The number in a first volume's mark; 0 where there is none yet."""
    magic, number = _MARK.unpack_from(content)
    return int(number) if magic == _MAGIC else 0


def pages_of(offset: int, length: int) -> Iterator[int]:
    """The offsets of the pages that an extent touches."""
    yield from range(offset - offset % PAGE, offset + length, PAGE)


class Load:
    """The writes of one seed."""

    def __init__(self, seed: int, sizes: Sequence[int]) -> None:
        self.sizes = sizes
        self._seed = seed
        #: Numbers that were under way when the primary died.
        self.interrupted: set[int] = set()

    def write(self, number: int) -> Write:
        """Write `number`; numbers start at 1."""
        source = number
        while source - 1 in self.interrupted:
            source -= 1
        volume, offset, length = self._extent(source)
        rng = random.Random(self._seed * 1_000_003 + number)  # noqa: S311 - test data
        data = None if rng.random() < 0.15 else rng.randbytes(length)
        return Write(volume, offset, length, data)

    def _extent(self, number: int) -> tuple[int, int, int]:
        rng = random.Random(f"{self._seed}/{number}")  # noqa: S311 - test data
        volume = rng.randrange(len(self.sizes))
        size = self.sizes[volume]
        length = min(rng.choice((512, 4096, 4096, 7000, 20000, _LARGEST)), size // 4)
        first = SECTOR if volume == 0 else 0  # the mark's sector is the mark's
        offset = rng.randrange(first, size - length + 1)
        if rng.random() < 0.5:
            offset = max(first, offset - offset % PAGE)
        return volume, offset, length


class Wrong(AssertionError):
    """The disks are no cut of the load, or not the one that they must be."""


class WrongMark(Wrong):
    """They are at another point of the load."""

    def __init__(self, number: int, at_least: int, at_most: int, before: int) -> None:
        super().__init__(
            f"mark {number} was found; it must be {at_least} to {at_most}, and at"
            f" least {before}, which was found before"
        )


class WrongByte(Wrong):
    """A byte is not what it was at this mark."""

    def __init__(self, number: int, volume: int, offset: int) -> None:
        super().__init__(f"mark {number}: volume {volume} differs at byte {offset}")


class RecordedDisks:
    """The disks as they were at some mark; goes forward only."""

    def __init__(self, load: Load) -> None:
        self.number = 0
        self.images = [bytearray(size) for size in load.sizes]
        self._load = load

    def check(self, found: Sequence[bytes], at_least: int, at_most: int) -> int:
        """Compares every byte of every volume; returns the mark that was found.

        Args:
            found: the contents of the volumes.
            at_least: the mark must not be older.
            at_most: no write behind this one may be there.

        Raises:
            Wrong: and what is wrong, with the first volume and byte.
        """
        number = number_in(found[0])
        if not max(at_least, self.number) <= number <= at_most:
            raise WrongMark(number, at_least, at_most, self.number)
        self._advance(number)
        if first_difference(self.images, found) is None:
            return number
        allowed = self._allowed(number, at_most)
        different = first_difference(self.images, found, allowed)
        if different is not None:
            volume, offset = different
            raise WrongByte(number, volume, offset)
        return number

    def _advance(self, number: int) -> None:
        while self.number < number:
            self.number += 1
            self.apply(self.images, self._load.write(self.number))
        self.images[0][:SECTOR] = mark_of(number) if number else bytes(SECTOR)

    @staticmethod
    def apply(images: Sequence[bytearray], write: Write) -> None:
        """Does a write on images in memory."""
        data = bytes(write.length) if write.data is None else write.data
        images[write.volume][write.offset : write.offset + write.length] = data

    def _allowed(self, number: int, at_most: int) -> dict[tuple[int, int], list[bytes]]:
        """The pages that may differ from mark `number`, and what they may hold."""
        allowed: dict[tuple[int, int], list[bytes]] = {}
        following = number + 1
        while following <= at_most:
            write = self._load.write(following)
            changed = [bytearray(image) for image in self.images]
            self.apply(changed, write)
            interrupted = following in self._load.interrupted
            for page in pages_of(write.offset, write.length):
                contents = allowed.setdefault((write.volume, page), [])
                if interrupted or len(contents) > 1:
                    was = self.images[write.volume][page : page + PAGE]
                    contents.append(bytes(was))
                contents.append(bytes(changed[write.volume][page : page + PAGE]))
            if not interrupted:
                break
            following += 1
        return allowed


def first_difference(
    expected: Sequence[bytes | bytearray],
    found: Sequence[bytes | bytearray],
    allowed: Mapping[tuple[int, int], list[bytes]] | None = None,
) -> tuple[int, int] | None:
    """The first volume and byte where contents differ.

    A page of `allowed`, by volume and offset, must hold one of what it lists.
    """
    pages = allowed or {}
    for volume, (ours, theirs) in enumerate(zip(expected, found, strict=True)):
        if len(ours) != len(theirs):
            return volume, min(len(ours), len(theirs))
        if not pages and ours == theirs:
            continue
        for page in range(0, len(ours), PAGE):
            mine, other = ours[page : page + PAGE], theirs[page : page + PAGE]
            if other not in pages.get((volume, page), [mine]):
                same = [a == b for a, b in zip(mine, other, strict=True)]
                return volume, page + (0 if all(same) else same.index(False))
    return None
