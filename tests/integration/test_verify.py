"""Online verify finds what somebody changed under the secondary, and repairs it."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from blkcolo.v1 import types_pb2
from tests.nbd_client import NbdClient
from tests.stack import MIB, ODD_SIZE, PROTECTED, Stack, running, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration

SIZES = (8 * MIB, ODD_SIZE)
EXTENT = 65536
_REPLICATING = types_pb2.FORWARD_STATE_REPLICATING
#: Volume and offset of the flipped bytes: in data, at its edges, in a hole.
FLIPS = [(0, 12345), (0, 3 * MIB - 1), (0, 6 * MIB + 7), (1, 0), (1, ODD_SIZE - 1)]


def rng(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - test data


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("verify"), sizes=SIZES) as stack:
        for number, length in enumerate((4 * MIB, ODD_SIZE)):
            with NbdClient(stack.nbd["primary"], f"disk{number}") as vm:
                for at in range(0, length, MIB):
                    vm.write(at, rng(at).randbytes(min(MIB, length - at)))
        stack.checkpoint()
        yield stack


def blkcolo(stack: Stack, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "blkcolo_cli", *arguments),
            *("--coordinator", stack.address("coordinator")),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def flip(stack: Stack) -> None:
    """Changes bytes of the secondary's images behind its back."""
    for volume, offset in FLIPS:
        with stack.image("secondary", volume).open("r+b") as image:
            image.seek(offset)
            byte = image.read(1)
            image.seek(offset)
            image.write(bytes([byte[0] ^ 0x55]))


def differs(stack: Stack) -> bool:
    return any(
        stack.image("secondary", number).read_bytes()
        != stack.image("primary", number).read_bytes()
        for number in range(len(SIZES))
    )


def sample(stack: Stack, name: str) -> float | None:
    for line in stack.scrape("primary").splitlines():
        if line.startswith(f'blkcolo_primary_{name}{{group="vm1"}}'):
            return float(line.split()[1])
    return None


def test_equal_disks_are_found_equal_and_the_next_checkpoint_is_verified(
    stack: Stack,
) -> None:
    code, said = blkcolo(stack, "verify")
    assert code == 0, said
    assert "both sides are equal" in said
    epoch = stack.checkpoint()
    assert sample(stack, "last_verified_checkpoint") == epoch
    assert sample(stack, "last_verified_timestamp_seconds")
    assert stack.primary_status().last_verified_checkpoint == epoch


def test_last_verify_is_known_behind_a_restart(tmp_path: Path) -> None:
    with running(tmp_path, sizes=(MIB,)) as stack:
        assert blkcolo(stack, "verify")[0] == 0
        epoch = stack.checkpoint()
        wait_until(
            lambda: stack.primary_status().last_verified_checkpoint == epoch,
            "it is verified",
        )
        at = stack.primary_status().last_verified_timestamp_seconds
        stack.kill("primary")
        stack.start("primary")
        stack.wait_state(PROTECTED)
        status = stack.primary_status()
        assert status.last_verified_timestamp_seconds == at
        assert status.last_verified_checkpoint == epoch
        assert sample(stack, "last_verified_checkpoint") == epoch


def test_flipped_bytes_are_found_exactly_repaired_and_told(stack: Stack) -> None:
    before = sample(stack, "verify_mismatching_blocks_total") or 0
    flip(stack)
    code, said = blkcolo(stack, "verify", "--json")
    assert code == 5, said
    report = json.loads(said)
    found = {
        (extent["volume"], offset)
        for extent in report["differing"]
        for offset in range(
            int(extent["offset"]),
            int(extent["offset"]) + int(extent["length"]),
            EXTENT,
        )
        if int(extent["length"]) <= EXTENT
    }
    # In the hole the whole of it is one extent: there are no checksums of nothing.
    in_data = [(v, o) for v, o in FLIPS if not (v == 0 and o >= 4 * MIB)]
    assert found == {(f"disk{v}", o // EXTENT * EXTENT) for v, o in in_data}
    holes = [e for e in report["differing"] if int(e["length"]) > EXTENT]
    assert [(e["volume"], int(e["offset"])) for e in holes] == [("disk0", 4 * MIB)]
    assert not differs(stack)
    assert (sample(stack, "verify_mismatching_blocks_total") or 0) > before
    assert stack.log("primary").count("verify: the secondary's disk differs") >= len(
        in_data
    )
    assert "differed" in blkcolo(stack, "status")[1]
    assert blkcolo(stack, "verify")[0] == 0


def test_writes_that_go_on_are_never_taken_for_differences(stack: Stack) -> None:
    stop = threading.Event()

    def write() -> None:
        with NbdClient(stack.nbd["primary"], "disk0") as vm:
            data = rng(3)
            while not stop.is_set():
                vm.write(data.randrange(8 * MIB - 8192), data.randbytes(8192))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(3):
            code, said = blkcolo(stack, "verify")
            assert code == 0, said
    finally:
        stop.set()
        writer.join(20)


def test_scrub_finds_and_repairs_by_itself(tmp_path: Path) -> None:
    options = "scrub_bytes_per_second = 33554432\n"
    with running(tmp_path, sizes=SIZES, primary_options=options) as stack:
        with NbdClient(stack.nbd["primary"], "disk0") as vm:
            vm.write(0, rng(1).randbytes(MIB))
        stack.checkpoint()
        flip(stack)
        wait_until(
            lambda: sample(stack, "verify_mismatching_blocks_total"), "it is found", 30
        )
        wait_until(lambda: not differs(stack), "it is repaired")
        assert stack.primary_status().verify.scrub


def test_verify_that_cannot_run_says_why(stack: Stack) -> None:
    stack.kill("secondary")
    wait_until(lambda: stack.primary_status().state not in (3, 4), "the stream is lost")
    code, said = blkcolo(stack, "verify")
    assert code == 1
    assert "verif" in said or "lost" in said
    stack.start("secondary")


def flip_one(stack: Stack, offset: int) -> None:
    with stack.image("secondary").open("r+b") as image:
        image.seek(offset)
        byte = image.read(1)
        image.seek(offset)
        image.write(bytes([byte[0] ^ 0x55]))


def test_failover_right_behind_a_repair_brings_no_flipped_byte_back(
    tmp_path: Path,
) -> None:
    with running(tmp_path, sizes=(4 * MIB,)) as stack:
        with NbdClient(stack.nbd["primary"], "disk0") as vm:
            vm.write(0, rng(1).randbytes(MIB))
            committed = stack.checkpoint()
            content = stack.image("primary").read_bytes()
            flip_one(stack, 300_000)  # in data
            flip_one(stack, 3 * MIB)  # in a hole
            vm.write(8192, bytes(4096))  # another block of what is compared at once
            code, said = blkcolo(stack, "verify")
            assert code == 5, said
        assert stack.failover().committed_epoch == committed
        stack.wait_flushed()
        assert stack.image("secondary").read_bytes() == content


def test_undo_that_may_hold_a_flipped_byte_ends_the_protection_until_a_checkpoint(
    tmp_path: Path,
) -> None:
    with running(tmp_path, sizes=(4 * MIB,)) as stack:
        with NbdClient(stack.nbd["primary"], "disk0") as vm:
            vm.write(0, rng(1).randbytes(MIB))
            committed = stack.checkpoint()
            flip_one(stack, 5000)
            vm.write(4096, bytes(100))  # saves the rest of the block as it is
            code, said = blkcolo(stack, "verify")
        assert code == 1, said
        assert "changed by itself" in said
        wait_until(
            lambda: (
                stack.group().state == PROTECTED
                and stack.group().primary.committed_epoch > committed
            ),
            "a new checkpoint",
        )
        content = stack.image("primary").read_bytes()
        assert blkcolo(stack, "verify")[0] == 0
        stack.failover()
        stack.wait_flushed()
        assert stack.image("secondary").read_bytes() == content


def kept(stack: Stack) -> list[int]:
    code, said = blkcolo(stack, "checkpoints", "--json")
    assert code == 0, said
    return [int(entry["epoch"]) for entry in json.loads(said)["checkpoints"]]


def test_kept_checkpoints_that_may_hold_a_flipped_byte_are_given_up(
    tmp_path: Path,
) -> None:
    keep = "history.keep = 5\n"
    with running(tmp_path, sizes=(4 * MIB,), secondary_options=keep) as stack:
        with NbdClient(stack.nbd["primary"], "disk0") as vm:
            vm.write(0, rng(1).randbytes(MIB))
            stack.checkpoint()
            flip_one(stack, 5000)
            vm.write(4096, bytes(100))  # saves the rest of the block as it is
            second = stack.checkpoint()
            code, said = blkcolo(stack, "verify")
            assert code == 5, said
            assert min(kept(stack)) == second
            assert "undo layer in doubt" in stack.log("secondary")
            # The same in a layer that leads back to the last checkpoint.
            vm.write(MIB, bytes([1]))
            third = stack.checkpoint()
            flip_one(stack, 9000)
            vm.write(8192, bytes(100))
            assert "changed by itself" in blkcolo(stack, "verify")[1]
        wait_until(lambda: min(kept(stack)) > third, "the next checkpoint")
        stack.wait_state(PROTECTED)
        content = stack.image("primary").read_bytes()
        stack.failover()
        stack.wait_flushed()
        assert stack.image("secondary").read_bytes() == content


def test_overlay_that_copied_a_flipped_byte_is_dropped_before_it_is_trusted(
    tmp_path: Path,
) -> None:
    with running(tmp_path, sizes=(4 * MIB,), secondary_vm=True) as stack:
        with NbdClient(stack.nbd["primary"], "disk0") as vm:
            vm.write(0, rng(1).randbytes(MIB))
            committed = stack.checkpoint()
        content = stack.image("primary").read_bytes()
        flip_one(stack, 5000)
        with NbdClient(stack.nbd["secondary"], "disk0") as vm:
            vm.write(4096, bytes(512))  # copies the rest of the block
        code, said = blkcolo(stack, "verify")
        assert code == 1, said
        assert "the overlay may hold it" in said
        wait_until(
            lambda: (
                stack.group().state == PROTECTED
                and stack.group().primary.committed_epoch > committed
            ),
            "a new checkpoint",
        )
        stack.failover()
        stack.wait_flushed()
        assert stack.image("secondary").read_bytes() == content


def damage_undo(stack: Stack, epoch: int) -> None:
    """Flips a bit of what the epoch's undo layer has saved."""
    path = stack.folder / "secondary" / "groups" / "vm1" / f"undo-{epoch}"
    with path.open("r+b") as layer:
        layer.seek(-100, 2)
        byte = layer.read(1)
        layer.seek(-100, 2)
        layer.write(bytes([byte[0] ^ 4]))


def damaged_layers(stack: Stack) -> float:
    name = 'blkcolo_secondary_damaged_undo_layers_total{group="vm1"}'
    lines = stack.scrape("secondary").splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(name))


def test_damaged_undo_layer_is_found_and_the_next_checkpoint_mends_it(
    tmp_path: Path,
) -> None:
    """A failover in between would bring a wrong byte: so the group is unprotected."""
    with running(tmp_path, sizes=(4 * MIB,)) as stack:
        stack.pause()
        with NbdClient(stack.nbd["primary"], "disk0") as vm:
            vm.write(0, rng(1).randbytes(MIB))
            stack.checkpoint()
            vm.write(0, rng(2).randbytes(MIB))
        epoch = stack.primary_status().epoch
        assert blkcolo(stack, "verify")[0] == 0
        assert damaged_layers(stack) == 0
        damage_undo(stack, epoch)
        streams = stack.log("secondary").count("stream started")
        lost = stack.log("primary").count("link lost")
        assert blkcolo(stack, "verify")[0] == 0  # both disks are equal
        wait_until(lambda: damaged_layers(stack) == 1, "the damage is found")
        assert f"undo-{epoch} is damaged at byte" in stack.log("secondary")
        wait_until(
            lambda: (
                stack.log("secondary").count("stream started") > streams
                and stack.primary_status().state == _REPLICATING
            ),
            "a new stream",
        )
        # It was not protected until the checkpoint that each new stream begins with.
        assert stack.log("primary").count("link lost") > lost
        stack.resume()
        stack.wait_state(PROTECTED)
        content = stack.image("primary").read_bytes()
        assert blkcolo(stack, "verify")[0] == 0
        stack.failover()
        stack.wait_flushed()
        assert stack.image("secondary").read_bytes() == content


def test_kept_checkpoints_behind_a_damaged_layer_are_given_up(tmp_path: Path) -> None:
    keep = "history.keep = 5\n"
    with running(tmp_path, sizes=(4 * MIB,), secondary_options=keep) as stack:
        taken = {}
        with NbdClient(stack.nbd["primary"], "disk0") as vm:
            for seed in range(4):
                vm.write(seed * 4096, rng(seed).randbytes(MIB))
                taken[stack.checkpoint()] = stack.image("primary").read_bytes()
        damaged = sorted(taken)[1]  # what leads from the second back to the first
        damage_undo(stack, damaged)
        assert blkcolo(stack, "verify")[0] == 0
        wait_until(lambda: damaged_layers(stack) == 1, "the damage is found")
        assert stack.group().state == PROTECTED
        assert min(kept(stack)) == damaged
        stack.failover(epoch=damaged)
        stack.wait_flushed()
        assert stack.image("secondary").read_bytes() == taken[damaged]
