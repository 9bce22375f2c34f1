"""Program versions that do not fit together refuse each other by name."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import google_crc32c
import pytest

from blkcolo.storage.records import MAGIC, VERSION, header
from blkcolo.stream import PROTOCOL_VERSION
from blkcolo.v1 import types_pb2
from tests.stack import PROTECTED, Stack, wait_until

pytestmark = pytest.mark.integration

_SHARED = Path(__file__).parents[2] / "services" / "common" / "blkcolo"


def other_version(folder: Path, number: int) -> dict[str, str]:
    """The environment of a program that speaks another protocol."""
    shutil.copytree(_SHARED, folder / "blkcolo")
    stream = folder / "blkcolo" / "stream.py"
    text = stream.read_text()
    line = f"PROTOCOL_VERSION = {PROTOCOL_VERSION}\n"
    assert line in text
    stream.write_text(text.replace(line, f"PROTOCOL_VERSION = {number}\n"))
    return {"PYTHONPATH": str(folder)}


@pytest.mark.parametrize("newer", ["primary", "secondary"])
def test_a_pair_of_two_protocols_refuses_by_name_until_both_are_upgraded(
    tmp_path: Path, newer: str
) -> None:
    stack = Stack(tmp_path)
    number = PROTOCOL_VERSION + 1
    stack.environment[newer] = other_version(tmp_path / "newer", number)
    spoken = {"primary": PROTOCOL_VERSION, "secondary": PROTOCOL_VERSION, newer: number}
    words = (
        f"the primary speaks protocol {spoken['primary']}, the secondary"
        f" {spoken['secondary']}; run the same version on both sides"
    )
    try:
        stack.start()
        wait_until(lambda: stack.group().HasField("failure"), "it is told")
        wait_until(lambda: words in stack.group().failure.message, words)
        failure = stack.group().failure
        assert failure.reason == types_pb2.REASON_PROTOCOL_VERSION
        assert stack.group().state != PROTECTED
        older = ({"primary", "secondary"} - {newer}).pop()
        stack.stop(older)
        stack.environment[older] = stack.environment[newer]
        stack.start(older)  # the other half of an upgrade: nothing else is needed
        stack.wait_state(PROTECTED)
    finally:
        stack.close()


def start_refused(stack: Stack, name: str) -> str:
    """Starts a service that must refuse; returns what it says."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "blkcolo_cli", name),
            *("--config", str(stack.config(name))),
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    return done.stderr


@pytest.mark.parametrize("durability", ["process", "host"])
def test_files_of_a_newer_program_stop_the_start_and_stay_as_they_are(
    tmp_path: Path, durability: str
) -> None:
    stack = Stack(tmp_path, secondary_options=f'durability = "{durability}"\n')
    folder = tmp_path / "secondary" / "groups" / "vm1"
    folder.mkdir(parents=True)
    journal = folder / "journal"
    content = _of_version(VERSION + 1)
    journal.write_bytes(content)
    said = start_refused(stack, "secondary")
    assert f"records of version {VERSION + 1}" in said
    assert f"this program knows {VERSION}" in said
    assert "run the program version that wrote it" in said
    assert journal.read_bytes() == content
    journal.write_bytes(_record(b'{"phase": 0, "history": [], "invented": 1}'))
    assert "a state that this program does not know" in start_refused(
        stack, "secondary"
    )


def _record(payload: bytes) -> bytes:
    return header(1, 0, 0, 0, payload) + payload


def _of_version(number: int) -> bytes:
    content = bytearray(_record(b"{}"))
    content[len(MAGIC)] = number
    content[32:36] = google_crc32c.value(bytes(content[:32])).to_bytes(4, "little")
    return bytes(content)


def test_a_store_of_a_newer_coordinator_stops_the_start(tmp_path: Path) -> None:
    stack = Stack(tmp_path)
    (tmp_path / "coordinator").mkdir()
    database = sqlite3.connect(tmp_path / "coordinator" / "coordinator.sqlite")
    database.execute("PRAGMA user_version=99")
    database.close()
    said = start_refused(stack, "coordinator")
    assert "version 99, this program knows" in said
    assert "run the version that wrote it" in said
