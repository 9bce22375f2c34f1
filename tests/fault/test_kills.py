"""Kill rounds in CI; `make soak` runs as many as one likes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.fault.kill_rounds import Life, Setting

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.fault, pytest.mark.integration, pytest.mark.timeout(300)]

_ROUNDS = 5


@pytest.mark.parametrize(
    "setting",
    [
        Setting("process", secondary_vm=True, ack_policy="async", max_interval=0.1),
        Setting("host", secondary_vm=False, ack_policy="async", max_interval=0.0),
    ],
    ids=["process-with-secondary-vm", "host"],
)
def test_killed_services_lose_nothing(tmp_path: Path, setting: Setting) -> None:
    seed = int(os.environ.get("SEED", "1"))
    life = Life(tmp_path, seed, setting)
    try:
        life.run(_ROUNDS, lambda: None)
    except BaseException as error:
        error.add_note(f"{life.setting}; again with SEED={seed}; logs in {tmp_path}")
        raise
    finally:
        life.close()
