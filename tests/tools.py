"""Programs of the machine that tests run; a missing one is a visible skip."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_ELSEWHERE = "/usr/sbin:/sbin"


def require_tool(name: str) -> str:
    """The program's path; skips the test, or fails it in CI, where it is missing."""
    found = shutil.which(name) or shutil.which(name, path=_ELSEWHERE)
    if found is None:
        venv = Path(sys.executable).parent / name
        found = str(venv) if venv.exists() else None
    if found is None:
        missing(f"{name} is not installed")
    assert found is not None
    return found


def in_ci() -> bool:
    """True where nothing may be skipped: everything is installed there."""
    return bool(os.environ.get("CI"))


def missing(what: str) -> None:
    """Skips, naming what is missing; CI has everything, so there it fails."""
    if in_ci():
        pytest.fail(f"{what}; CI needs it (make clients)")
    pytest.skip(f"{what} (make clients)")


def run(*command: str, timeout: float = 60, check: bool = True) -> str:
    """Runs a program; returns its output, fails with it."""
    done = subprocess.run(
        [require_tool(command[0]), *command[1:]],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    output = done.stdout + done.stderr
    if check and done.returncode != 0:
        pytest.fail(f"{' '.join(command)} exited with {done.returncode}:\n{output}")
    return output


def nbdsh(script: str, uri: str) -> str:
    """Runs a libnbd script with the system's Python; `h` is connected."""
    if not Path("/usr/bin/python3").exists():
        missing("/usr/bin/python3 is not there")
    prelude = f"import nbd, errno\nh = nbd.NBD()\nURI = {uri!r}\n"
    done = subprocess.run(
        ["/usr/bin/python3", "-c", prelude + script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if "No module named 'nbd'" in done.stderr:
        missing("python3-libnbd is not installed")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
