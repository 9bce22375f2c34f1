"""What is durable when, on a real secondary; and the way out of damage."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from blkcolo.v1 import types_pb2
from tests.forwarder import Forwarder
from tests.nbd_client import NbdClient
from tests.stack import MIB, PROTECTED, Stack, running, wait_until
from tests.tools import require_tool, run
from tests.tracer import traced

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.fault]

BLOCK = 4096


def calls(record: Path, names: dict[str, str]) -> list[str]:
    """The completed calls as `name file`, in order of their completion."""
    found = []
    open_calls: dict[str, str] = {}
    for line in record.read_text().splitlines():
        thread, rest = line.split(None, 1)
        if "unfinished ..." in rest:
            open_calls[thread] = rest
            continue
        if rest.startswith("<..."):
            rest = open_calls.pop(thread)
        made = re.match(r"(\w+)\(\d+<([^>]+)>", rest)
        if made and made[2] in names:
            call = "write" if made[1].startswith("pwrite") else made[1]
            found.append(f"{call} {names[made[2]]}")
    return found


def test_with_host_undo_is_durable_before_data_and_data_before_the_commit(
    tmp_path: Path,
) -> None:
    stack = Stack(tmp_path, sizes=(MIB,), secondary_options='durability = "host"\n')
    folder = tmp_path / "secondary" / "groups" / "vm1"
    try:
        stack.start("secondary")
        with Forwarder(stack) as forwarder:
            forwarder.write([0], b"old!" * (MIB // 4))
            forwarder.checkpoint()
            epoch = forwarder.epoch
            names = {
                str(stack.image("secondary")): "disk",
                str(folder / f"undo-{epoch}"): "undo",
                str(folder / "journal"): "journal",
                str(folder): "folder",
            }
            with traced(
                stack,
                "secondary",
                "-e",
                "trace=pwrite64,pwritev,pwritev2,fdatasync,fsync",
            ) as record:
                for block in (3, 5):
                    forwarder.write([block * BLOCK], b"new?" * 1024)
                    forwarder.applied()
                forwarder.checkpoint()
        save = ["write undo", "fdatasync undo", "write disk"]
        made = calls(record, names)
        if made[-1] == "fsync folder":
            made.pop()  # the dropped layer's removal, behind the answer
        assert made == [
            *("fsync folder", *save, *save),
            *("fdatasync disk", "write journal", "fdatasync journal"),
        ]
    finally:
        stack.close()


def test_damage_is_refused_with_file_and_offset_and_the_way_out_works(
    tmp_path: Path,
) -> None:
    with running(tmp_path, sizes=(4 * MIB,)) as stack:
        with NbdClient(stack.nbd["primary"], "disk0") as vm:
            vm.write(0, b"old!" * MIB)
            stack.checkpoint()
            stack.pause()
            for block in (10, 20, 30):
                vm.write(block * BLOCK, b"new?" * 1024)
                wait_until(
                    lambda: stack.primary_status().in_flight_bytes == 0, "applied"
                )
        stack.kill("secondary")
        with NbdClient(stack.nbd["primary"], "disk0") as vm:
            vm.write(MIB, b"late" * 1024)
        folder = tmp_path / "secondary" / "groups" / "vm1"
        (layer,) = folder.glob("undo-*")
        content = bytearray(layer.read_bytes())
        second = content.index(b"BCRC", 1)
        content[second + 100] ^= 1
        layer.write_bytes(content)
        said = refusal_of(stack)
        assert f"{layer} is damaged at byte {second}" in said
        assert f"move the folder {folder} away" in said
        assert "blkcolo resume vm1 --discard secondary" in said
        # The way out, as it is said.
        shutil.move(folder, tmp_path / "away")
        stack.start("secondary")
        wait_until(
            lambda: stack.group().failure.reason == types_pb2.REASON_CONTENTS_DIFFER,
            "nothing is overwritten unasked",
        )
        address = stack.address("coordinator")
        run(
            *("blkcolo", "resume", "vm1", "--discard", "secondary"),
            *("--coordinator", address),
        )
        stack.wait_state(PROTECTED)
        stack.checkpoint()
        assert (
            stack.image("secondary").read_bytes() == stack.image("primary").read_bytes()
        )


def refusal_of(stack: Stack) -> str:
    """What a secondary says that cannot start."""
    done = subprocess.run(
        [require_tool("blkcolo"), "secondary", "--config", stack.config("secondary")],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    return done.stderr
