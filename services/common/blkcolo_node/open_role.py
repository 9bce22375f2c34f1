"""Opens what plays a role with a group's disks: a forwarder, or a replica."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

from blkcolo.errors import DataLoss, Reason, translated
from blkcolo.storage.posix_files import PosixFolder
from blkcolo_primary.runtime.group import ForwardGroup
from blkcolo_secondary.core.replica import Replica
from blkcolo_secondary.core.replica_options import ReplicaOptions
from blkcolo_secondary.record.history import HistoryPolicy
from blkcolo_secondary.runtime.group import ReplicaGroup
from blkcolo_secondary.runtime.load_progress import LoadProgress

if TYPE_CHECKING:
    from pathlib import Path

    from blkcolo.rpc.client import Dialer
    from blkcolo_node.group_disks import GroupDisks
    from blkcolo_node.settings import GroupOptions


def as_primary(
    options: GroupOptions, disks: GroupDisks, dialer: Dialer
) -> ForwardGroup:
    """Opens the primary's side.

    Args:
        options: the group's.
        disks: its disks.
        dialer: reaches other nodes.

    Raises:
        BlkcoloError: its state cannot be used.
    """
    with translated(f"opening the state of group {options.name}"):
        return ForwardGroup(
            options.name,
            options.forward,
            disks.volumes,
            disks.images,
            disks.folder,
            disks.intent,
            disks.growth,
            dialer,
        )


def as_secondary(options: GroupOptions, disks: GroupDisks, path: Path) -> ReplicaGroup:
    """Opens the secondary's side.

    Args:
        options: the group's.
        disks: its disks.
        path: where its Disk Buffer lives.

    Raises:
        BlkcoloError: its Disk Buffer cannot be used.
    """
    with translated(f"opening the Disk Buffer of group {options.name}"):
        replica = _read_back(options, disks, path)
    return ReplicaGroup(
        replica,
        secondary_vm=options.replica.secondary_vm,
        queue_bytes=options.replica.queue_bytes,
        growth=disks.growth,
        clock=time.time,
    )


def _read_back(options: GroupOptions, disks: GroupDisks, path: Path) -> Replica:
    name, replica = options.name, options.replica
    try:
        return Replica(
            name,
            disks.volumes,
            disks.images,
            PosixFolder(path),
            disks.intent,
            lambda: str(uuid4()),
            ReplicaOptions(
                host_durable=replica.durability == "host",
                buffer_limit_bytes=replica.buffer_limit_bytes,
                history=HistoryPolicy(**replica.history.model_dump()),
            ),
            LoadProgress(name, time.monotonic),
        )
    except DataLoss as error:
        message = f"group {name}: {path}/{error.message}"
        if error.reason is not Reason.PROTOCOL_VERSION:
            message += (
                "; restore the file from a copy, or give the checkpoint up: move"
                f" the folder {path} away, start this service again, and run:"
                f" blkcolo resume {name} --discard secondary (it copies what"
                " differs)"
            )
        raise replace(error, message=message) from error
