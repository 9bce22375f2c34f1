"""Messages in the words of a trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blkcolo.stream import Barrier, Batch, Verify

if TYPE_CHECKING:
    from collections.abc import Iterable

    from blkcolo.stream import Request


def told(message: Request) -> str:
    """What a message brings."""
    match message:
        case Batch():
            columns = zip(
                message.volumes, message.offsets, message.lengths, strict=True
            )
            return f"epoch {message.epoch}, {places(columns)}"
        case Barrier():
            return f"barrier {message.epoch}"
        case Verify():
            compared = places((e.volume, e.offset, e.length) for e in message.extents)
            return f"compare {compared or 'is complete'}"
        case _:
            return type(message).__name__.lower()


def places(extents: Iterable[tuple[int, int, int]]) -> str:
    """Where something is."""
    return ", ".join(f"disk{v} {offset}+{length}" for v, offset, length in extents)
