"""What both sides last said, as plain values: the facts of `events` and `explain`."""

from __future__ import annotations

from dataclasses import dataclass

from blkcolo.errors import Reason

#: States of a secondary that was failed over, or is about to be.
FAILED_OVER = ("failing_over", "failed_over")


@dataclass(frozen=True)
class PrimarySeen:
    """What the primary says; states and plans are those of blkcolo.v1, as words.

    Attributes:
        state: of the forwarder, as "replicating".
        failure: why the stream was lost; UNSPECIFIED: it was not.
        failure_message: the whole sentence of that.
        plan: what the stream had to compare, as "dirty".
        resync_done: bytes compared by the resync.
        resync_total: bytes that it compares in all.
        eta: seconds until it is complete; None: not known.
        verify_number: the last verify pass; 0: none.
        verify_ended: it does not run any more.
        differing_bytes: what it found to differ.
        differing_at: where that begins, as "disk0 at 4096".
    """

    state: str
    failure: Reason = Reason.UNSPECIFIED
    failure_message: str = ""
    plan: str = ""
    resync_done: int = 0
    resync_total: int = 0
    eta: float | None = None
    verify_number: int = 0
    verify_ended: bool = False
    differing_bytes: int = 0
    differing_at: str = ""


@dataclass(frozen=True)
class SecondarySeen:
    """What the secondary says.

    Attributes:
        state: of the replica, as "receiving".
        committed: the checkpoint that a failover leads to; None: there is none.
        failure: why its stream ended, or its flush paused; UNSPECIFIED: it did not.
        failure_message: the whole sentence of that.
        flush_remaining: bytes still to be flushed.
        flush_total: bytes that the flush moves in all; 0: there is none.
        discarded: it can give back what it held before it was to be a copy.
    """

    state: str
    committed: int | None = None
    failure: Reason = Reason.UNSPECIFIED
    failure_message: str = ""
    flush_remaining: int = 0
    flush_total: int = 0
    discarded: bool = False
