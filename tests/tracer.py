"""strace on a running service: a record of its system calls, or its death at one."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.stack import wait_until
from tests.tools import require_tool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.stack import Stack


@contextmanager
def traced(stack: Stack, name: str, *options: str) -> Iterator[Path]:
    """Traces all threads of a service; yields the record, whole when this ends."""
    record, said = stack.folder / "strace.out", stack.folder / "strace.err"
    with said.open("w") as stderr:
        process = subprocess.Popen(
            [
                *(require_tool("strace"), "-f", "-yy", "-s", "0", "-o", str(record)),
                *("-p", str(stack.processes[name].pid), *options),
            ],
            stderr=stderr,
        )
    try:
        wait_until(
            lambda: "attached" in said.read_text() or process.poll() is not None,
            "strace attached",
        )
        assert process.poll() is None, said.read_text()
        yield record
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def killed_at(
    stack: Stack, name: str, call: str, path: Path, *, when: int = 1
) -> Iterator[None]:
    """Kills a service on entry to its `when`-th call on a file, within this block."""
    options = ("-P", str(path), "-e", f"trace={call}")
    inject = ("-e", f"inject={call}:signal=SIGKILL:when={when}")
    with traced(stack, name, *options, *inject):
        yield
        process = stack.processes[name]
        wait_until(lambda: process.poll() is not None, f"{name} dies in {call}")
    stack.kill(name)
