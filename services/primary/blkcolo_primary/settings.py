"""How a group is forwarded: the options of the primary's role."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from blkcolo.process.settings import ByteSize, Section

#: A write of 4 KiB costs the secondary some 8 us: so many are applied within 5 ms.
_USUAL_WRITES = 512
#: Fewer would make every checkpoint and every small batch wait.
_FEWEST_WRITES = 64


def _usual_writes(given: dict[str, object]) -> int:
    return 0 if given.get("on_congestion") == "detach" else _USUAL_WRITES


class ForwardSettings(Section):
    """A group in the primary's role."""

    ack_policy: Literal["async", "received", "applied"] = "async"
    """When a VM write is answered: after the local write, when the secondary holds it
    in memory, or when it is on the secondary's disk. Later is slower and loses less."""
    window_bytes: ByteSize = Field(32 << 20, ge=1 << 20)
    """Bytes in flight to the secondary; bounds memory and what a lost link loses."""
    on_congestion: Literal["throttle", "detach"] = "throttle"
    """When the window is full: let the VM wait, or go on unprotected."""
    window_writes: int = Field(default_factory=_usual_writes, ge=0)
    """Writes in flight to the secondary; bounds how long a checkpoint waits for what
    came before it. 0: no bound. By default 512, and 0 with `detach`, since a full
    window ends the protection there."""
    batch_bytes: ByteSize = Field(2 << 20, ge=4096, le=4 << 20)
    """Data in one message; larger is more throughput, smaller less delay."""
    gather_seconds: float = Field(0.002, ge=0, le=1)
    """With `async`: how long a write may wait for others to share its message. Longer
    costs less CPU a write, and a dead primary loses that much more; a checkpoint never
    waits for it."""
    on_disconnect: Literal["continue", "freeze"] = "continue"
    """When the link is lost: let the VM write on unprotected, or let it wait."""
    durability: Literal["process", "host"] = "process"
    """What the intent log survives: the death of the service, or power loss, too."""
    region_size: ByteSize | None = Field(None, ge=4096)
    """What a bit of the intent log stands for, a power of two; by default 64 KiB, and
    more where a volume is larger than 64 GiB. Smaller resends less after a cut link."""
    scrub_bytes_per_second: ByteSize = Field(0, ge=0)
    """How fast both disks are compared all the time, at most; 0: only on demand. It
    rests at times, and slows down where the VM had more than twice the speed then."""
    link_timeout_seconds: float = Field(8.0, gt=0)
    """A secondary that makes no progress for this long counts as lost."""

    @field_validator("window_writes")
    @classmethod
    def _enough(cls, writes: int) -> int:
        if 0 < writes < _FEWEST_WRITES:
            raise ValueError(f"give {_FEWEST_WRITES} or more, or 0 for no bound")
        return writes

    @property
    def warning(self) -> str:
        """What these options do that few people want; empty where there is nothing."""
        if self.on_congestion != "detach" or not 0 < self.window_writes < _USUAL_WRITES:
            return ""
        return (
            f"with on_congestion = detach a burst of {self.window_writes} writes ends"
            " the protection, under load before there is any; leave window_writes out,"
            f" or give {_USUAL_WRITES} or more, or choose throttle"
        )

    @field_validator("region_size")
    @classmethod
    def _power_of_two(cls, size: int | None) -> int | None:
        if size is not None and size & (size - 1):
            raise ValueError(f"{size} is no power of two; give 64K, 128K, ...")
        return size
