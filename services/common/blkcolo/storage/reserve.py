"""Room that a failover always finds: a file that gives its blocks back in time.

A failover moves no data before it is answered, but what makes it hold is written: on
the secondary the intent log anew, and a record in the journal; on the primary the
fence; on the coordinator the generation. Where a file system is full none of these
fits, and a checkpoint that is whole could not be reached. So each stream begins with
such a file on both sides, and a failover begins by removing it; the coordinator removes
its own where it must. The next stream, or start, fills it again.

Its bytes are such that no file system makes them smaller.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from blkcolo.errors import translated

if TYPE_CHECKING:
    from blkcolo.storage.files import Folder


def fill(folder: Folder, name: str, size: int) -> None:
    """Makes sure of `size` bytes; what an earlier run has left is as good.

    Raises:
        Exhausted: there is no room for it, so that a failover would have none.
    """
    with translated("setting room for a failover aside"):
        file = folder.open(name)
        try:
            if file.size < size:
                file.truncate(0)
                file.write(0, hashlib.shake_256(name.encode()).digest(size))
        finally:
            file.close()


def release(folder: Folder, name: str) -> None:
    """Gives the room back; no harm if there is none. Raises BlkcoloError."""
    with translated("giving the room for a failover back"):
        folder.remove(name)
