"""What a hello must say for its stream to be taken, and where that stream starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blkcolo.errors import Invalid, Reason, Refused, translated
from blkcolo.stream import PROTOCOL_VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blkcolo.stream import Hello, VolumeId
    from blkcolo_secondary.buffer.disk_buffer import DiskBuffer
    from blkcolo_secondary.record.group_journal import DurableState


def check_hello(group: str, volumes: Sequence[VolumeId], hello: Hello) -> None:
    """Compares what the primary says of itself with what is configured here.

    Raises:
        Invalid: another protocol or group.
        Refused: other volumes.
    """
    if hello.protocol_version != PROTOCOL_VERSION:
        raise Invalid(
            Reason.PROTOCOL_VERSION,
            f"group {group}: the primary speaks protocol"
            f" {hello.protocol_version}, the secondary {PROTOCOL_VERSION};"
            " run the same version on both sides",
        )
    if hello.group != group:
        raise Invalid(Reason.WRONG_GROUP, f"this is group {group}")
    mine = {volume.name: volume for volume in volumes}
    for theirs in hello.volumes:
        own = mine.pop(theirs.name, None)
        if own != theirs:
            raise Refused(
                Reason.VOLUME_MISMATCH,
                f"group {group}: volume {theirs.name} is {theirs} on the"
                f" primary and {own or 'absent'} on the secondary;"
                " give both sides the same name, uuid and size; where a growth was cut"
                " short, repeat blkcolo grow",
                theirs.name,
            )
    if mine or [v.name for v in hello.volumes] != [v.name for v in volumes]:
        raise Refused(
            Reason.VOLUME_MISMATCH,
            f"group {group}: the primary does not name the volumes"
            f" {[v.name for v in volumes]} in this order;"
            " list the same volumes on both sides",
        )


def may_overwrite(durable: DurableState, buffer: DiskBuffer, hello: Hello) -> bool:
    """True if what is here came from this group's primary, or was never written.

    Raises:
        BlkcoloError: the disk cannot be looked at.
    """
    if durable.is_replica or hello.discard_secondary:
        return True
    with translated("looking for data on the disk"):
        return buffer.is_blank()


def first_epoch(durable: DurableState, hello: Hello, newest: int) -> int:
    """One that no write of the group was made in; 0 before its first checkpoint.

    Args:
        durable: what the group remembers.
        hello: what the primary says.
        newest: the newest epoch that anything was received in.
    """
    if durable.committed is None and not durable.discarded:
        return hello.epoch + 1 if hello.epoch else 0
    return max(durable.committed or 0, newest, hello.epoch) + 1
