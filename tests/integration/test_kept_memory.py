"""What the services hold on to does not grow with what they did.

Queues and rings fill up to their bounds, and SQLite's cursors are forgotten by the
hundred: what counts is a line of code whose memory grows in each span of checkpoints.
"""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest

import blkcolo
from blkcolo_coordinator.runtime.checkpointer import KEPT
from blkcolo_primary.core.stream_epochs import StreamEpochs
from tests.in_process import InProcess
from tests.nbd_client import NbdClient
from tests.stack import MIB, started

if TYPE_CHECKING:
    from collections.abc import Iterator

# tracemalloc makes the services some times slower.
pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

_BLOCK = 4096
_WRITES = 3
_SPANS, _CHECKPOINTS = 3, 40
#: Of one line in a span, in memory blocks: one object of each checkpoint is more.
_GROWTH = _CHECKPOINTS // 2
#: Frames of each allocation: what a service called counts as its own.
_FRAMES = 4
_OURS = tracemalloc.Filter(
    inclusive=True,
    filename_pattern=str(Path(blkcolo.__file__).parents[2] / "*"),
    all_frames=True,
)


class Kept:
    """What the three services hold, as they run."""

    def __init__(self, stack: InProcess) -> None:
        """Fills what is bounded."""
        self._stack = stack
        self._work(KEPT + 10)

    def growing_lines(self) -> list[str]:
        """Where memory is taken that checkpoints or writes leave behind."""
        held = [self._blocks()]
        for _ in range(_SPANS):
            self._work(_CHECKPOINTS)
            held.append(self._blocks())
        return [
            line
            for line in held[-1]
            if all(now[line] - then[line] >= _GROWTH for then, now in pairwise(held))
        ]

    def _work(self, checkpoints: int) -> None:
        with NbdClient(self._stack.nbd["primary"], "disk0") as vm:
            for number in range(checkpoints):
                for write in range(_WRITES):
                    block = (number * _WRITES + write) * 97 % (MIB // _BLOCK)
                    vm.write(block * _BLOCK, number.to_bytes(8) * (_BLOCK // 8))
                self._stack.take_checkpoint()
        self._stack.checkpoint()

    @staticmethod
    def _blocks() -> Counter[str]:
        """By line of code."""
        gc.collect()
        sys._clear_type_cache()  # it holds names that `match` looked up
        snapshot = tracemalloc.take_snapshot().filter_traces([_OURS])
        return Counter(str(trace.traceback[-1]) for trace in snapshot.traces)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    tracemalloc.start(_FRAMES)
    try:
        with started(InProcess(tmp_path_factory.mktemp("kept"), sizes=(MIB,))) as stack:
            yield Kept(stack)
    finally:
        tracemalloc.stop()


def test_services_keep_nothing_of_a_write_or_a_checkpoint(kept: Kept) -> None:
    assert kept.growing_lines() == []


def test_one_small_object_that_is_kept_of_each_checkpoint_is_found(kept: Kept) -> None:
    leak: list[object] = []
    real = StreamEpochs.end

    def leaking(self: StreamEpochs, epoch: int) -> int:
        leak.append(object())
        return real(self, epoch)

    with patch.object(StreamEpochs, "end", leaking):
        (line,) = kept.growing_lines()
    assert Path(__file__).name in line
