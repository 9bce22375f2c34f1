"""Compares extents of the disk with the checksums that the primary took of its own."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from blkcolo.errors import Invalid, Reason, Refused, from_os_error
from blkcolo.extents import check_extent

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from blkcolo.storage.files import BlockFile
    from blkcolo.stream import VerifyExtent, VolumeId

_STEP = 1 << 20


def differing(
    disks: Sequence[BlockFile],
    volumes: Sequence[VolumeId],
    extents: Sequence[VerifyExtent],
) -> Generator[None, None, list[VerifyExtent]]:
    """Returns the extents whose content is another one here, in steps of a MiB.

    Raises:
        Invalid: an extent is of no volume, or leaves it; nothing was read.
        DataLoss: the disk could not be read; names volume and offset.
    """
    for extent in extents:
        if extent.volume >= len(volumes):
            raise Invalid(
                Reason.INVALID,
                f"a verify names volume {extent.volume}, the hello {len(volumes)};"
                " run the same version on both sides",
            )
        volume = volumes[extent.volume]
        check_extent(volume.name, volume.size, extent.offset, extent.length)
    different: list[VerifyExtent] = []
    for extent in extents:
        same = True
        try:
            for piece in _equal_pieces(disks[extent.volume], extent):
                same = same and piece
                yield None
        except OSError as error:
            name = volumes[extent.volume].name
            raise from_os_error(
                error, "reading the disk", name, extent.offset
            ) from error
        if not same:
            different.append(extent)
    return different


def _equal_pieces(disk: BlockFile, extent: VerifyExtent) -> Iterator[bool]:
    """An extent without a digest is to be all zeros."""
    if extent.digest:
        digest = hashlib.sha256()
        end = extent.offset + extent.length
        for start in range(extent.offset, end, _STEP):
            content = bytearray(min(_STEP, end - start))
            disk.read_into(start, memoryview(content))
            digest.update(content)
        yield digest.digest() == extent.digest
        return
    for data in disk.data_extents(extent.offset, extent.length):
        for start in range(data.offset, data.end, _STEP):
            content = bytearray(min(_STEP, data.end - start))
            disk.read_into(start, memoryview(content))
            yield not any(content)


def foreign_contents(group: str, volume: str, offset: int, why: str) -> Refused:
    """The refusal to overwrite what never came from the group's primary.

    Args:
        group: the group's name.
        volume: the volume's name.
        offset: the first byte that would be overwritten.
        why: what would overwrite it, as a clause.
    """
    return Refused(
        Reason.CONTENTS_DIFFER,
        f"volume {volume}: the contents of this secondary never came from group"
        f" {group}, and {why} (first at byte {offset}); give it new images, or"
        " resume replication with --discard secondary to overwrite it",
        volume,
        offset,
    )
