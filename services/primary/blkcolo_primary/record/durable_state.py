"""What the primary must remember of a group: its generation, and a fence.

One small JSON file a group, written to a spare name, synced and renamed. A fence that
was answered holds for ever, whatever dies: it is on disk before the answer.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from blkcolo.errors import DataLoss, Reason
from blkcolo.storage import reserve, state_file

if TYPE_CHECKING:
    from blkcolo.storage.files import Folder

#: Room for the fence, whatever has filled the disk.
_RESERVE_BYTES = 16 << 10


@dataclass(frozen=True)
class DurableState:
    """What holds whatever dies.

    Attributes:
        generation: the group's generation.
        fenced: VM writes are refused in it.
        epoch: the newest epoch of the group that was known when this was written.
    """

    generation: int = 0
    fenced: bool = False
    epoch: int = 0


def load(folder: Folder, group: str) -> DurableState:
    """Reads the state; a group that was never seen has generation 0.

    Raises:
        DataLoss: the file is damaged; names it.
    """
    name = f"{group}.json"
    content = state_file.load(folder, name)
    if content is None:
        return DurableState()
    try:
        return DurableState(**json.loads(content))
    except (ValueError, TypeError) as error:
        raise DataLoss(
            Reason.DISK_ERROR,
            f"{name} is damaged: {error}; remove it if no failover of group"
            f" {group} ever took place, or ask the coordinator for its generation",
        ) from error


def save(folder: Folder, group: str, state: DurableState) -> None:
    """Writes the state; it holds when this returns.

    Raises:
        BlkcoloError: the disk refused; the old state holds.
    """
    state_file.save(folder, f"{group}.json", json.dumps(asdict(state)).encode())


def set_room_aside(folder: Folder, group: str) -> None:
    """Makes sure that a fence can be saved; see `blkcolo.storage.reserve`.

    Raises:
        Exhausted: there is no room for it.
    """
    reserve.fill(folder, f"{group}.reserve", _RESERVE_BYTES)


def give_room_back(folder: Folder, group: str) -> None:
    """A fence is about to be saved; raises BlkcoloError."""
    reserve.release(folder, f"{group}.reserve")
