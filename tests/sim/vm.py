"""What a VM does to its disks: writes, zeroes, trims and flushes of all sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

_LENGTHS = (1, 1, 100, 100, 512, 512, 512, 4096, 4096, 9000, 1 << 20)
_SHORT = (1, 100, 512)


@dataclass(frozen=True)
class VmWrite:
    """One request, and whether a flush comes behind it; no data: zeros."""

    volume: int
    offset: int
    length: int
    data: bytes | None
    trim: bool
    flush: bool

    @classmethod
    def draw(
        cls, rng: random.Random, sizes: Sequence[int], lengths: Sequence[int] = _LENGTHS
    ) -> VmWrite:
        """Any extent of any volume."""
        volume = rng.randrange(len(sizes))
        offset = rng.randrange(sizes[volume])
        length = min(rng.choice(lengths), sizes[volume] - offset)
        kind = rng.random()
        data = rng.randbytes(length) if kind < 0.8 else None
        return cls(volume, offset, length, data, kind > 0.9, rng.random() < 0.3)

    @classmethod
    def burst(
        cls, rng: random.Random, sizes: Sequence[int], *, calm: bool
    ) -> list[VmWrite]:
        """One request, or a few at once; a short one where the VM is calm."""
        if calm:
            return [cls.draw(rng, sizes, _SHORT)]
        count = rng.choice((1, 1, 1, 4))
        return [cls.draw(rng, sizes) for _ in range(count)]

    @property
    def content(self) -> bytes:
        """What the extent holds afterwards."""
        return bytes(self.length) if self.data is None else self.data

    def __str__(self) -> str:
        verb = "writes" if self.data is not None else "trims" if self.trim else "zeroes"
        behind = ", flushes" if self.flush else ""
        return f"VM {verb} disk{self.volume} {self.offset}+{self.length}{behind}"
