"""Applies one message of a stream to the Disk Buffer, in steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from blkcolo.errors import DataLoss, Reason, Refused
from blkcolo.stream import Barrier, Batch, Flush, Hello, Mismatch, Verify
from blkcolo_secondary.buffer.save_and_write import Sync
from blkcolo_secondary.stream.comparison import differing, foreign_contents

if TYPE_CHECKING:
    from collections.abc import Iterator

    from blkcolo.stream import Request
    from blkcolo_secondary.buffer.disk_buffer import DiskBuffer
    from blkcolo_secondary.buffer.repair import Doubt
    from blkcolo_secondary.record.group_journal import GroupJournal
    from blkcolo_secondary.stream.receiver import Receiver


class Target(NamedTuple):
    """What messages are applied to."""

    group: str
    buffer: DiskBuffer
    journal: GroupJournal


def message_steps(
    target: Target, stream: Receiver, seq: int, message: Request
) -> Iterator[Mismatch | Sync | Doubt | None]:
    """Yields what is to be answered, carried out or recorded before the next step.

    Raises:
        BlkcoloError: the message is wrong, or the disk refused.
    """
    match message:
        case Batch():
            stream.check_batch(message)
            if not target.journal.state.is_replica:
                first, why = message.offsets[0], "the VM writes while they are compared"
                raise _foreign(target, message.volumes[0], first, why)
            buffer = target.buffer
            if message.repairs:
                yield from buffer.repair(message)
            else:
                yield from buffer.apply(message)
        case Barrier():
            stream.seal(message, seq)
            target.buffer.seal(message.epoch)
        case Verify():
            yield from _compare(target, stream, message)
        case Flush():
            yield Sync(target.buffer.sync)
            stream.durable = seq
        case Hello():
            raise DataLoss(
                Reason.SEQUENCE_GAP,
                f"group {target.group}: a second hello in one stream;"
                " the primary must open a new one",
            )


def _compare(
    target: Target, stream: Receiver, message: Verify
) -> Iterator[Mismatch | None]:
    buffer, journal = target.buffer, target.journal
    different = yield from differing(buffer.disks, buffer.volumes, message.extents)
    if different and not journal.state.is_replica:
        raise _foreign(target, different[0].volume, different[0].offset, "they differ")
    if different:
        yield Mismatch(tuple(different))
    if message.complete:
        if not journal.state.is_replica:
            journal.update(is_replica=True)  # it is equal: ours
        stream.verified = True


def _foreign(target: Target, volume: int, offset: int, why: str) -> Refused:
    name = target.buffer.volumes[volume].name
    return foreign_contents(target.group, name, offset, why)
