"""Notices streams that are lost again and again before they protect anything.

A slow link with `on_congestion: detach` comes back, resyncs, and detaches once more;
so does a link that breaks under load. As long as no checkpoint is committed between
two losses, nothing is gained, and people should know. What a faster link would not
mend, as a full disk, is told in its own words.
"""

from __future__ import annotations

from dataclasses import dataclass

from blkcolo.errors import BlkcoloError, Reason, Unavailable

#: Losses in a row after which it is said.
_MANY = 3

#: What a faster link or a slower VM can mend.
_OF_SPEED = frozenset(
    {
        Reason.CONGESTION,
        Reason.BUFFER_FULL,
        Reason.LINK_LOST,
        Reason.DEADLINE,
        Reason.PEER_UNREACHABLE,
    }
)


@dataclass
class Headway:
    """How many streams were lost since the last commit."""

    losses: int = 0

    @property
    def missing(self) -> bool:
        """True if nothing is gained by starting again and again."""
        return self.losses >= _MANY

    def lost(self) -> None:
        """A stream is lost."""
        self.losses += 1

    def told(self, group: str, failure: BlkcoloError) -> BlkcoloError:
        """What is to be said of the last loss."""
        if not self.missing or failure.reason not in _OF_SPEED:
            return failure
        return Unavailable(
            Reason.NO_HEADWAY,
            f"group {group} lost {self.losses} streams in a row before a checkpoint"
            f" was committed in one, the last for {failure.reason.name}:"
            f" {failure.message}; make the link faster or the VM slower, or set"
            " on_congestion to throttle",
        )

    def committed(self) -> None:
        """A checkpoint is committed."""
        self.losses = 0
