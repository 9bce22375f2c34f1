"""How a group is forwarded: the options of the primary's role."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from blkcolo.process.settings import ByteSize, Section


class ForwardSettings(Section):
    """A group in the primary's role."""

    ack_policy: Literal["async", "received", "applied"] = "async"
    """When a VM write is answered: after the local write, when the secondary holds it
    in memory, or when it is on the secondary's disk. Later is slower and loses less."""
    window_bytes: ByteSize = Field(32 << 20, ge=1 << 20)
    """Bytes in flight to the secondary; bounds memory and what a lost link loses."""
    window_writes: int | None = Field(None, ge=64)
    """Writes in flight to the secondary; bounds how long a checkpoint waits for what
    came before it. By default 1024; with `detach` there is no such bound by default,
    since there a full window ends the protection."""
    batch_bytes: ByteSize = Field(2 << 20, ge=4096, le=4 << 20)
    """Data in one message; larger is more throughput, smaller less delay."""
    gather_seconds: float = Field(0.002, ge=0, le=1)
    """With `async`: how long a write may wait for others to share its message. Longer
    costs less CPU a write, and a dead primary loses that much more; a checkpoint never
    waits for it."""
    on_congestion: Literal["throttle", "detach"] = "throttle"
    """When the window is full: let the VM wait, or go on unprotected."""
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

    @field_validator("region_size")
    @classmethod
    def _power_of_two(cls, size: int | None) -> int | None:
        if size is not None and size & (size - 1):
            raise ValueError(f"{size} is no power of two; give 64K, 128K, ...")
        return size
