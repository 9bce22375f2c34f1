"""How fast the machine is: the same few things before and behind every run.

CPU a request differs between days by more than a change of this system brings. These
tell whether the machine does, too: they need nothing of this system.
"""

from __future__ import annotations

import os
import subprocess
import time
from statistics import median
from typing import TYPE_CHECKING

from tests.bench.report.record import Speed
from tests.tools import require_tool

if TYPE_CHECKING:
    from collections.abc import Callable

_NS = 1_000_000_000
_NS_PER_US = 1000
_TIMES = 9
_TURNS = 100_000
#: More than a core's own caches hold.
_COPIED_MIB = 16
_CALLS = 20_000
_WAKE_UPS = 200


def now() -> Speed:
    """Takes about a second.

    Of the first three the CPU of the fastest time: what other programs take away is
    left out. Waking another process up is real time, the median: they are in it.
    """
    return Speed(
        loop_ns=_fastest(_loop, _TURNS),
        copy_us=_fastest(_copying(), _COPIED_MIB) / _NS_PER_US,
        call_ns=_fastest(_call, _CALLS),
        wake_us=_wake_up_ns() / _NS_PER_US,
    )


def _fastest(step: Callable[[], None], amount: int) -> float:
    """CPU of this thread, in ns, a turn, MiB or call."""
    times = []
    for _ in range(_TIMES):
        began = time.thread_time_ns()
        step()
        times.append(time.thread_time_ns() - began)
    return min(times) / amount


def _loop() -> None:
    value = 1
    for number in range(_TURNS):
        value = (value * 5 + number) & 0xFFFF


def _copying() -> Callable[[], None]:
    source, target = bytearray(_COPIED_MIB << 20), bytearray(_COPIED_MIB << 20)
    view = memoryview(target)

    def copy() -> None:
        view[:] = source

    return copy


def _call() -> None:
    for _ in range(_CALLS):
        os.getppid()


def _wake_up_ns() -> float:
    """A byte to another process and back."""
    with subprocess.Popen(
        [require_tool("cat")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as echo:
        assert echo.stdin is not None
        assert echo.stdout is not None
        times = []
        for _ in range(_TIMES):
            began = time.monotonic_ns()
            for _ in range(_WAKE_UPS):
                echo.stdin.write(b"x")
                echo.stdout.read(1)
            times.append((time.monotonic_ns() - began) / _WAKE_UPS)
    return median(times)
