"""A few writes a second on each of many volumes, all by one schedule."""

from __future__ import annotations

import contextlib
import os
import random
import time
from time import monotonic_ns
from typing import TYPE_CHECKING

from tests.bench.load.pace import Pace
from tests.nbd_client import NbdClient

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_NS = 1_000_000_000
_BLOCK = 4096


@contextlib.contextmanager
def connected(port: int, exports: Sequence[str]) -> Iterator[list[NbdClient]]:
    """A client of each export, on loopback."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(NbdClient(port, each)) for each in exports]


def write(clients: Sequence[NbdClient], rate: float, seconds: float) -> float:
    """Writes 4 KiB at a random offset to each client's volume in turn.

    Args:
        clients: of one volume each.
        rate: writes a second, on all of them together.
        seconds: how long.

    Returns:
        Writes made, divided by those that were due: below 1 where their answers took
        longer than the schedule.
    """
    data, pace, made = os.urandom(_BLOCK), Pace(monotonic_ns(), rate), 0
    until = pace.began + int(seconds * _NS)
    while (now := monotonic_ns()) < until:
        if made < pace.due(now):
            client = clients[made % len(clients)]
            block = random.randrange(client.size // _BLOCK)  # noqa: S311 - no secret
            client.write(block * _BLOCK, data)
            made += 1
        else:
            time.sleep(min(pace.at(made), until) / _NS - now / _NS)
    return made / (rate * seconds)
