"""The typed errors of the whole system, and what each tells its caller to do.

    BlkcoloError            base: reason, message, volume, offset, epoch, errno
      Refused               not in this state or for this caller: change something first
        StaleGeneration     somebody newer is in charge: stop, learn the new generation
      Invalid               the request is malformed: mend it
      Unavailable           not reachable or not ready: try again later
      DeadlineMissed        did not happen in time: ask again with the same arguments
      Exhausted             no room: free space, or take a checkpoint
      DataLoss              bytes are wrong or missing: a new stream is needed

Errors are raised as domain errors and become gRPC statuses once, at the border
(`rpc.errors`), and NBD errno once, at the border (`nbd`).
"""

from __future__ import annotations

import enum
import errno
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

_Error = TypeVar("_Error", bound=BaseException)


class Reason(enum.IntEnum):
    """Why; the numbers are those of blkcolo.v1.Reason, the names its ErrorInfo."""

    UNSPECIFIED = 0
    STALE_GENERATION = 1
    UNKNOWN_GENERATION = 2
    WRONG_GROUP = 3
    EPOCH_GAP = 4
    NOT_PREPARED = 5
    NO_CHECKPOINT = 6
    CONTENTS_DIFFER = 7
    VOLUME_MISMATCH = 8
    OUT_OF_RANGE = 9
    CHECKSUM = 10
    SEQUENCE_GAP = 11
    DIGEST_MISMATCH = 12
    NOT_REPLICATING = 13
    ALREADY_REPLICATING = 14
    RESYNCING = 15
    LINK_LOST = 16
    DISK_ERROR = 17
    DISK_FULL = 18
    FENCED = 19
    FAILED_OVER = 20
    PEER_UNREACHABLE = 21
    DEADLINE = 22
    PROTOCOL_VERSION = 23
    NOT_FENCED = 24
    CONGESTION = 25
    INVALID = 26
    REQUESTED = 27
    WRONG_STATE = 28
    STOPPING = 29
    GROUP_EXISTS = 30
    INTERNAL = 31
    BUFFER_FULL = 32
    NOT_PERMITTED = 33
    INSECURE = 34
    WRONG_ROLE = 40
    NO_HEADWAY = 41


@dataclass
class BlkcoloError(Exception):
    """A failure with everything that its reader needs."""

    reason: Reason
    message: str
    volume: str = ""
    offset: int = 0
    epoch: int = 0
    errno: int = 0

    def __str__(self) -> str:
        return self.message


class Refused(BlkcoloError):
    """Not in this state or for this caller: change something, then ask again."""


class StaleGeneration(Refused):
    """The caller's generation is older than the one known here."""

    @classmethod
    def of(cls, group: str, generation: int, known: int) -> StaleGeneration:
        """Builds the refusal of `generation` where `known` is in force."""
        return cls(
            Reason.STALE_GENERATION,
            f"group {group}: generation {generation} is stale, {known} is in force;"
            " ask the coordinator who is in charge",
        )


class Invalid(BlkcoloError):
    """The request is malformed: mend it."""


class Unavailable(BlkcoloError):
    """Not reachable or not ready: try again later."""


class DeadlineMissed(BlkcoloError):
    """Did not happen in time: ask again with the same arguments."""


class Exhausted(BlkcoloError):
    """No room: free space, or take a checkpoint."""


class DataLoss(BlkcoloError):
    """Bytes are wrong or missing: a new stream is needed."""


def from_os_error(
    error: OSError, what: str, volume: str = "", offset: int = 0, then: str = ""
) -> BlkcoloError:
    """Translates a disk's OSError; the caller raises it `from error`.

    Args:
        error: what the operating system said.
        what: what was being done, as in "writing the disk".
        volume: the volume concerned.
        offset: the byte offset concerned.
        then: what is to be done when the disk is well again; by default that is to
            resume replication, after a full disk.
    """
    number = error.errno or errno.EIO
    where = f" of {volume} at {offset}" if volume else ""
    text = f"{what}{where} failed: {error.strerror or error}"
    if number in (errno.ENOSPC, errno.EDQUOT):
        return Exhausted(
            Reason.DISK_FULL,
            f"{text}; free space there, then {then or 'resume replication'}",
            volume,
            offset,
            errno=number,
        )
    if then:
        text += f"; mend the disk, then {then}"
    return DataLoss(Reason.DISK_ERROR, text, volume, offset, errno=number)


@contextmanager
def translated(
    what: str, volume: str = "", offset: int = 0, then: str = ""
) -> Iterator[None]:
    """Raises an OSError of its block as `from_os_error` says."""
    try:
        yield
    except OSError as error:
        raise from_os_error(error, what, volume, offset, then) from error


def first_of(errors: BaseExceptionGroup[_Error], kind: type[_Error]) -> _Error:
    """The first of the errors that ended a group of tasks; `kind` is that of all."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if not isinstance(error, kind):
        raise TypeError(error)
    return error
