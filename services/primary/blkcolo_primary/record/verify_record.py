"""What is known of the last verify, whatever dies: one small JSON file a group.

It tells how old the proof is that both disks are equal, and decides nothing: a file
that cannot be read counts as none.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from blkcolo.storage import state_file

if TYPE_CHECKING:
    from blkcolo.storage.files import Folder


@dataclass(frozen=True)
class VerifyRecord:
    """The last complete pass over one copy.

    Attributes:
        replica_id: the copy; empty where there was no pass.
        completed_at: when it was complete, seconds since 1970; 0 before the first.
        checkpoint: the newest checkpoint behind a complete pass; None before the first.
    """

    replica_id: str = ""
    completed_at: float = 0.0
    checkpoint: int | None = None


def load(folder: Folder, group: str) -> VerifyRecord:
    """Reads the file; raises OSError."""
    content = state_file.load(folder, f"{group}.verified")
    try:
        return VerifyRecord(**json.loads(content or b"{}"))
    except (ValueError, TypeError):
        return VerifyRecord()


def save(folder: Folder, group: str, record: VerifyRecord) -> None:
    """Writes the file; raises BlkcoloError."""
    state_file.save(folder, f"{group}.verified", json.dumps(asdict(record)).encode())
