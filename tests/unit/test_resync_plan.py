"""The handshake's table: every pair of what both sides know."""

from __future__ import annotations

from itertools import product

import pytest

from blkcolo.errors import StaleGeneration
from blkcolo.intent.file import Base
from blkcolo.intent.log import IntentLog
from blkcolo.stream import Ahead, Welcome
from blkcolo_primary.core.forward_state import ForwardState
from blkcolo_primary.core.forwarder import ForwarderCore
from blkcolo_primary.core.resync_plan import ResyncPlan, plan
from blkcolo_primary.core.window import Window
from tests.memory_files import MemoryFile, MemoryFolder

GENERATION = 3
RESUME, DIRTY, FULL, REFUSE = (
    ResyncPlan.RESUME,
    ResyncPlan.DIRTY,
    ResyncPlan.FULL,
    ResyncPlan.REFUSE,
)

#: The intent log: what it is relative to, and whether regions are marked.
LOGS: dict[str, tuple[Base | None, bool]] = {
    "says nothing": (None, False),
    "of another copy": (Base("other", 5), True),
    "of another copy, clean": (Base("other", 5), False),
    "marked": (Base("copy", 5), True),
    "clean": (Base("copy", 5), False),
}
#: The secondary's committed checkpoint.
COPIES = {"none": None, "older": 4, "at the base": 5, "newer": 6}

EXPECTED = {
    ("marked", "at the base"): DIRTY,
    ("marked", "newer"): DIRTY,
    ("clean", "at the base"): RESUME,
    ("clean", "newer"): RESUME,
}


@pytest.mark.parametrize(("log", "copy"), list(product(LOGS, COPIES)))
def test_every_pair_in_one_generation_has_its_plan(log: str, copy: str) -> None:
    base, marked = LOGS[log]
    welcome = Welcome(GENERATION, COPIES[copy], 7, "copy")
    expected = EXPECTED.get((log, copy), FULL)
    assert plan(GENERATION, base, welcome, marked=marked) is expected


@pytest.mark.parametrize("log", LOGS)
@pytest.mark.parametrize("ahead_of", ["copy", "other", "third"])
def test_old_primary_without_a_checkpoint_is_compared_in_the_union_of_one_copy(
    log: str, ahead_of: str
) -> None:
    base, marked = LOGS[log]
    welcome = Welcome(GENERATION, None, 7, "new", ahead=Ahead(ahead_of, ((),)))
    same = base is not None and base.replica_id == ahead_of
    expected = ResyncPlan.UNION if same else FULL
    assert plan(GENERATION, base, welcome, marked=marked) is expected


@pytest.mark.parametrize(("log", "copy"), list(product(LOGS, COPIES)))
@pytest.mark.parametrize("generation", [GENERATION - 1, GENERATION + 1])
def test_every_pair_of_two_generations_is_refused(
    log: str, copy: str, generation: int
) -> None:
    base, marked = LOGS[log]
    welcome = Welcome(generation, COPIES[copy], 7, "copy")
    assert plan(GENERATION, base, welcome, marked=marked) is REFUSE


def test_primary_that_is_refused_as_stale_is_fenced_and_stays_so() -> None:
    folder = MemoryFolder()
    core = _core(folder)
    core.start(GENERATION)
    core.lose(StaleGeneration.of("vm", GENERATION, GENERATION + 2))
    assert core.state is ForwardState.FENCED
    assert core.failure is not None
    assert str(GENERATION + 2) in str(core.failure)
    assert _core(folder).state is ForwardState.FENCED  # a restart does not unfence
    with pytest.raises(StaleGeneration):
        core.start(GENERATION - 1)
    core.start(GENERATION + 3)
    assert core.state == int(ForwardState.CONNECTING)


def _core(folder: MemoryFolder) -> ForwarderCore:
    return ForwarderCore(
        "vm",
        [MemoryFile(65536)],
        folder,
        IntentLog(folder, "vm", [65536], 4096),
        batch_bytes=4096,
        window=Window(65536, 64),
    )
