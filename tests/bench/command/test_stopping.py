"""A benchmark that is told to end leaves no process and no image."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.stack import wait_until
from tests.tools import require_tool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: What one that may clean up needs at most; its loads are longer than that.
_END_SECONDS = 45


def _alone(number: int) -> Callable[[int], None]:
    return lambda pid: os.kill(pid, number)


def _terminal(pid: int) -> None:
    """Ctrl-C reaches all that was started there."""
    os.killpg(pid, signal.SIGINT)


def _session(leader: int) -> list[str]:
    """The commands of all processes that a leader and its children started."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, _, _, session, *_ = (
                (each / "stat").read_text().rsplit(")", 1)[1].split()
            )
            if int(session) == leader and state != "Z":
                found.append((each / "cmdline").read_text().replace("\0", " "))
    return found


@contextlib.contextmanager
def _under_load(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A benchmark whose services take a load."""
    command = [sys.executable, "-m", "tests.bench", *arguments]
    started = subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.DEVNULL
    )

    def loaded() -> bool:
        assert started.poll() is None
        running = _session(started.pid)
        services = [each for each in running if "blkcolo_cli" in each]
        return len(services) == 3 and any("ioengine=nbd" in each for each in running)

    try:
        wait_until(loaded, "the load runs", 40)
        yield started
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait()


@pytest.mark.integration
@pytest.mark.nbd
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("bench", "end", "status"),
    [
        pytest.param("memory", _alone(signal.SIGTERM), 143, id="SIGTERM to one"),
        pytest.param("cost", _terminal, 130, id="Ctrl-C on the terminal"),
    ],
)
def test_one_that_is_told_to_end_leaves_no_process_and_no_image(
    bench: str, end: Callable[[int], None], status: int, tmp_path: Path
) -> None:
    require_tool("fio")
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    where = ("--quick", "--dir", str(images), "--out", str(out))
    with _under_load("all", "--only", bench, *where) as started:
        assert list(images.iterdir())
        end(started.pid)
        assert started.wait(_END_SECONDS) == status
        assert not _session(started.pid)
    assert not list(images.iterdir())
    assert not list(out.iterdir())


@pytest.mark.integration
@pytest.mark.timeout(60)
def test_ctrl_c_while_processes_of_its_own_answer_shows_no_traceback(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-m", "tests.bench", "coordinator", "--quick"]
    where = ("--dir", str(tmp_path), "--out", str(tmp_path / "out"))
    with (tmp_path / "said").open("w+b") as said:
        started = subprocess.Popen(
            [*command, *where], start_new_session=True, stdout=said, stderr=said
        )
        try:
            # Its nodes answer when it says so.
            wait_until(lambda: said.seek(0) or said.read(), "it measures", 40)
            os.killpg(started.pid, signal.SIGINT)
            assert started.wait(_END_SECONDS) == 130
            wait_until(lambda: not _session(started.pid), "all have ended")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(started.pid, signal.SIGKILL)
            started.wait()
    assert "Traceback" not in (tmp_path / "said").read_text()
