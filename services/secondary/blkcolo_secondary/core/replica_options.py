"""What a group is told by its configuration, and what its core answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from blkcolo_secondary.record.history import HistoryPolicy


@dataclass(frozen=True)
class ReplicaOptions:
    """What a group is told by its configuration.

    Attributes:
        host_durable: power loss is to be survived, not only the death of processes.
        buffer_limit_bytes: undo bytes at which the VM is held up; 0: no limit.
        history: which checkpoints are kept.
        reserve_bytes: room that is set aside for a failover.
    """

    host_durable: bool = False
    buffer_limit_bytes: int = 0
    history: HistoryPolicy = field(default_factory=HistoryPolicy)
    reserve_bytes: int = 2 << 20


class Prepared(NamedTuple):
    """An epoch that may be committed."""

    epoch: int
    records: int


class Committed(NamedTuple):
    """The committed epoch and the bytes that left the buffer."""

    epoch: int
    dropped_bytes: int
