"""This system: the three services, a checkpoint once a second under the load."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from tests.bench.peers.images import copy, digest, fill
from tests.bench.peers.peer import timed_ms
from tests.stack import PROTECTED, Stack, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.bench.peers.peer import Burst

NAME = "blkcolo, replicated"
#: Nothing but time takes a checkpoint.
POLICY = "sent_bytes = 0\nbuffer_high_water_bytes = 0\n"


class Pair:
    """One group of one volume, protected."""

    name = NAME

    def __init__(self, stack: Stack) -> None:
        """Takes a running stack."""
        self.stack = stack
        self.uri = stack.uri("primary")
        self.images = (stack.image("primary"), stack.image("secondary"))

    def after_burst(self) -> None:
        """Nothing: checkpoints come by themselves, and the stream drains."""

    def check_replica(self, burst: Burst) -> str:
        """Checkpoint, more writes, failover: the disk is the checkpoint."""
        stack = self.stack
        stack.pause()
        began = time.perf_counter()
        epoch = stack.take_checkpoint()
        checkpoint_ms = timed_ms(began)
        expected = digest(stack.image("primary"))
        burst(self.uri)
        wait_until(
            lambda: stack.secondary_status().buffer_bytes > 0, "the burst is buffered"
        )
        assert digest(stack.image("primary")) != expected
        began = time.perf_counter()
        stack.failover()
        failover_ms = timed_ms(began)
        stack.wait_flushed()
        assert digest(stack.image("secondary")) == expected, (
            f"the failed-over disk is not checkpoint {epoch}"
        )
        return (
            f"failed over to checkpoint {epoch}, equal byte for byte"
            f" (checkpoint {checkpoint_ms:.1f} ms, failover {failover_ms:.1f} ms)"
        )


@contextlib.contextmanager
def running(folder: Path, base: Path, interval: float = 1.0) -> Iterator[Pair]:
    """A protected pair whose two images are copies of `base`.

    Args:
        folder: where everything lives.
        base: the first content of both disks.
        interval: seconds between checkpoints.
    """
    size = base.stat().st_size
    stack = Stack(folder, sizes=(size,), max_interval=interval, policy_options=POLICY)
    for side in ("primary", "secondary"):
        copy(base, stack.image(side))
    try:
        stack.start()
        wait_until(lambda: stack.group().state == PROTECTED, "protected", 120)
        yield Pair(stack)
    finally:
        stack.close()


@contextlib.contextmanager
def filled(folder: Path, size: int) -> Iterator[Pair]:
    """A protected pair whose two images are the same random bytes."""
    base = folder / "base.img"
    fill(base, size)
    with running(folder, base) as pair:
        base.unlink()
        yield pair


def wait_applied(stack: Stack) -> None:
    """Waits until the secondary has applied all that the primary sent."""
    wait_until(
        lambda: stack.primary_status().in_flight_bytes == 0, "all is applied", 300
    )
