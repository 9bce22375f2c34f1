"""SIGTERM under load: the secondary gets everything, or is said to miss some."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from blkcolo.process.service import EXIT_UNFINISHED, STOP_SECONDS
from tests.fault.test_bad_links import linked
from tests.nbd_client import NbdClient, NbdReplyError
from tests.stack import MIB, PROTECTED, Stack, wait_until

if TYPE_CHECKING:
    from tests.link_proxy import LinkProxy

pytestmark = [pytest.mark.integration, pytest.mark.fault]

_SIZE = 32 * MIB
_DEPLOY = Path(__file__).parents[2] / "deploy"


def write_until_refused(stack: Stack, begun: threading.Event) -> None:
    with NbdClient(stack.nbd["primary"], "disk0") as vm:
        try:
            for number in range(1 << 30):
                vm.write(number * 65536 % _SIZE, bytes([number % 251 + 1]) * 65536)
                begun.set()
        except (OSError, NbdReplyError, EOFError):
            return


def under_load(stack: Stack) -> threading.Thread:
    stack.start()
    stack.wait_state(PROTECTED)
    begun = threading.Event()
    writer = threading.Thread(target=write_until_refused, args=(stack, begun))
    writer.start()
    assert begun.wait(20)
    return writer


def last_words(stack: Stack) -> dict[str, Any]:
    lines = [json.loads(line) for line in stack.log("primary").splitlines()]
    errors: list[dict[str, Any]] = [line for line in lines if line["level"] == "error"]
    return errors[-1]


def test_primary_told_to_stop_under_load_leaves_two_equal_disks(tmp_path: Path) -> None:
    with linked(tmp_path, sizes=(_SIZE,)) as (stack, proxy):
        proxy.rate = 24 * MIB  # so that much is under way at any time
        writer = under_load(stack)
        wait_until(lambda: stack.primary_status().in_flight_bytes > MIB, "a backlog")
        stack.stop("primary")  # asserts exit code 0
        writer.join(20)
        assert not writer.is_alive()
        ours = stack.image("primary").read_bytes()
        assert stack.image("secondary").read_bytes() == ours


def stalled(stack: Stack, proxy: LinkProxy) -> threading.Thread:
    writer = under_load(stack)
    proxy.stall()
    wait_until(lambda: stack.primary_status().in_flight_bytes > MIB, "a backlog")
    return writer


def test_stop_past_its_deadline_says_what_is_missing_and_with_which_code(
    tmp_path: Path,
) -> None:
    with linked(tmp_path, sizes=(_SIZE,)) as (stack, proxy):
        writer = stalled(stack, proxy)
        process = stack.processes.pop("primary")
        process.terminate()
        assert process.wait(STOP_SECONDS + 10) == EXIT_UNFINISHED
        writer.join(20)
        said = last_words(stack)
        assert said["event"] == "stopped before all was replicated"
        found = re.match(r"group vm1: (\d+) bytes that the VM wrote", said["error"])
        assert found is not None, said
        assert int(found[1]) > MIB
        proxy.heal()
        stack.start("primary")  # the intent log has what was missing
        stack.wait_state(PROTECTED)
        stack.checkpoint()
        ours = stack.image("primary").read_bytes()
        assert stack.image("secondary").read_bytes() == ours


def test_second_signal_ends_at_once_and_loses_nothing(tmp_path: Path) -> None:
    with linked(tmp_path, sizes=(_SIZE,)) as (stack, proxy):
        writer = stalled(stack, proxy)
        process = stack.processes.pop("primary")
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: '"stopping"' in stack.log("primary"), "it is stopping")
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_SECONDS) == EXIT_UNFINISHED
        assert time.monotonic() - began < STOP_SECONDS / 3
        writer.join(20)
        assert last_words(stack)["event"] == "told to stop again: ends at once"
        proxy.heal()
        stack.start("primary")
        stack.wait_state(PROTECTED)
        stack.checkpoint()
        ours = stack.image("primary").read_bytes()
        assert stack.image("secondary").read_bytes() == ours


def test_supervisors_wait_longer_than_a_stop_may_take() -> None:
    for unit in (_DEPLOY / "systemd").glob("*.service"):
        found = re.search(r"^TimeoutStopSec=(\d+)$", unit.read_text(), re.MULTILINE)
        assert found is not None, unit
        assert int(found[1]) >= STOP_SECONDS + 5
    compose = (_DEPLOY / "compose.yaml").read_text()
    (grace,) = re.findall(r"stop_grace_period: (\d+)s$", compose, re.MULTILINE)
    assert int(grace) >= STOP_SECONDS + 5


#: A start that takes as long as that of a secondary with a large Disk Buffer: the event
#: loop does not run meanwhile.
_SLOW_START = """
import sys, time
from blkcolo.process.service import run_service
from blkcolo_coordinator.settings import CoordinatorSettings

class Slow:
    async def start(self):
        print("loading", flush=True)
        for _ in range(600):
            time.sleep(0.1)

    async def stop(self):
        print("stop", flush=True)

settings = lambda: CoordinatorSettings(data_dir=sys.argv[1])
sys.exit(run_service("slow", settings, lambda _: Slow()))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_a_service_starts_ends_it_at_once(
    number: int, tmp_path: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _SLOW_START, tmp_path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "loading\n"
        process.send_signal(number)
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, output) == (0, "")
    assert "told to stop while starting: ends at once" in errors
