"""Tunes the allocators of the process: glibc's malloc and Python's collector.

glibc maps and unmaps every 1 MiB message: each large malloc is an mmap by default,
and its page faults cost more than the copy that follows. Raised thresholds keep such
blocks on the heap; the price is that freed memory stays with the process, up to the
peak that the window and queue bounds allow, until protobuf trims the heap: it does so
whenever its messages have freed 10,000 blocks. One heap serves all threads: each of
gRPC's would keep such a peak of its own.
"""

from __future__ import annotations

import ctypes
import gc

#: Objects that may wait for the collector: net of those that went by themselves.
#: gRPC leaves a cycle of five, 0.7 KiB, behind each call that it serves; so many are
#: 0.7 MiB, and take the event loop a quarter of a millisecond.
_YOUNG_OBJECTS = 5_000

# malloc.h
_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8


def collect_rarely() -> None:
    """Leaves what the imports made out of garbage collection, and runs it rarely.

    A service makes no cycles on its hot paths, but a run is due now and then: calls
    leave some. It costs time in proportion to what was made since the last one.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, 20, 20)


def keep_large_blocks() -> bool:
    """Tunes malloc; False where the C library has no mallopt."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    mallopt(_M_MMAP_THRESHOLD, 1 << 30)
    mallopt(_M_TRIM_THRESHOLD, 256 << 20)
    mallopt(_M_TOP_PAD, 16 << 20)
    mallopt(_M_ARENA_MAX, 1)
    return True
