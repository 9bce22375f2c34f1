"""The loads: what a VM's disk has to do, in fio's words."""

from __future__ import annotations

from typing import NamedTuple


class Load(NamedTuple):
    """One load; `block_bytes` a request, `depth` requests at once."""

    name: str
    pattern: str
    block_bytes: int
    depth: int
    read_percent: int = 0

    @property
    def writes(self) -> bool:
        """True if it changes the disk."""
        return self.read_percent < 100


KIB = 1 << 10
LOADS = (
    Load("4k randwrite QD1", "randwrite", 4 * KIB, 1),
    Load("4k randwrite QD32", "randwrite", 4 * KIB, 32),
    Load("64k write QD16", "write", 64 * KIB, 16),
    Load("1M write QD8", "write", 1024 * KIB, 8),
    Load("4k randread QD32", "randread", 4 * KIB, 32, read_percent=100),
    Load("4k 70/30 mix QD32", "randrw", 4 * KIB, 32, read_percent=70),
)
BY_NAME = {load.name: load for load in LOADS}
