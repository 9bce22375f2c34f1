"""deploy/systemd, as systemd itself reads it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.tools import require_tool

_UNITS = sorted((Path(__file__).parents[2] / "deploy" / "systemd").glob("*.service"))
#: systemd's own scale: 0.0 is no exposure, 2.0 and less is called OK.
_EXPOSURE = "20"


@pytest.mark.parametrize("unit", _UNITS, ids=lambda unit: unit.stem)
def test_a_unit_is_sound_and_hardened(unit: Path, tmp_path: Path) -> None:
    installed = tmp_path / unit.name
    program = Path(sys.executable).parent / "blkcolo"
    text = unit.read_text()
    assert "/opt/blkcolo/bin/blkcolo" in text
    installed.write_text(text.replace("/opt/blkcolo/bin/blkcolo", str(program)))
    analyze = require_tool("systemd-analyze")
    verified = subprocess.run(
        [analyze, "verify", "--recursive-errors=no", str(installed)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (verified.returncode, verified.stderr) == (0, "")
    subprocess.run(
        [analyze, "security", "--offline=true", f"--threshold={_EXPOSURE}", installed],
        check=True,
        capture_output=True,
    )


def test_every_service_has_a_unit() -> None:
    assert [unit.stem for unit in _UNITS] == [
        f"blkcolo-{name}" for name in ("coordinator", "primary", "secondary")
    ]
