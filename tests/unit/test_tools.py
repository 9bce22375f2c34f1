"""A missing program is a skip that names it, and in CI a failure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEEDS_A_TOOL = """
from tests.tools import require_tool

def test_something():
    require_tool("no-such-program")
"""


@pytest.mark.parametrize(("ci", "outcome"), [("", "SKIPPED"), ("true", "FAILED")])
def test_missing_program_is_named_and_fails_ci(
    tmp_path: Path, ci: str, outcome: str
) -> None:
    (tmp_path / "test_it.py").write_text(NEEDS_A_TOOL)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--no-header"),
            *("-c", ROOT / "pyproject.toml", tmp_path),
        ],
        cwd=ROOT,
        env={**os.environ, "CI": ci},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == (1 if ci else 0), done.stdout
    (line,) = [line for line in done.stdout.splitlines() if line.startswith(outcome)]
    assert "no-such-program is not installed" in line
    assert "make clients" in line
