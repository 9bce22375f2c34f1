"""An end from outside lets a benchmark stop what it started, and remove its images."""

from __future__ import annotations

import signal
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Services, peers and loads have ended, and images are gone, in so many seconds.
_END_SECONDS = 120


def end_on_signals() -> None:
    """Makes the first signal an exception, in whatever the main thread does.

    Later ones are ignored: what cleans up is not interrupted.
    """
    for each in _SIGNALS:
        signal.signal(each, _end)


def _end(number: int, _: FrameType | None) -> None:
    for each in _SIGNALS:
        # No SIG_IGN: what is started from here on would have it as well.
        signal.signal(each, lambda *_: None)
    raise SystemExit(128 + number)


def run_apart(command: Sequence[str]) -> int:
    """Runs a program in a process of its own; ends it where this one is to end.

    Returns:
        Its exit status.
    """
    started = subprocess.Popen(command)
    try:
        return started.wait()
    except BaseException:
        started.terminate()
        started.wait(_END_SECONDS)
        raise
