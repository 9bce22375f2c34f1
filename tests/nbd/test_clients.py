"""Real NBD clients against the primary's export."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.nbd.raw_client import RawClient
from tests.nbd_client import NbdClient, NbdReplyError
from tests.stack import MIB, ODD_SIZE, Stack
from tests.tools import nbdsh, require_tool, run

pytestmark = [pytest.mark.integration, pytest.mark.nbd]


def test_nbdinfo_lists_every_export_with_its_abilities(primary: Stack) -> None:
    base = primary.uri("primary").rsplit("/", 1)[0]
    info = json.loads(run("nbdinfo", "--list", "--json", base))
    exports = {export["export-name"]: export for export in info["exports"]}
    assert set(exports) == {"disk0", "disk1"}
    disk = exports["disk0"]
    assert disk["export-size"] == ODD_SIZE
    assert (disk["block_size_minimum"], disk["block_size_preferred"]) == (512, 4096)
    assert disk["block_size_maximum"] == 32 * MIB
    for ability in (
        *("can_cache", "can_df", "can_fast_zero", "can_flush", "can_fua"),
        *("can_multi_conn", "can_trim", "can_zero"),
    ):
        assert disk[ability], ability
    assert not disk["is_read_only"]
    assert "base:allocation" in disk["contexts"]


def test_nbdcopy_there_and_back_is_exact_with_zeroes_of_128_mib(
    primary: Stack, tmp_path: Path
) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    with source.open("wb") as file:
        file.truncate(256 * MIB)
        for offset in (5 * MIB, 200 * MIB + 512):
            file.seek(offset)
            file.write(os.urandom(3 * MIB + 100))
    uri = primary.uri("primary", 1)
    run("nbdcopy", "--flush", "--allocated", str(source), uri)
    run("nbdcopy", uri, str(back))
    assert back.read_bytes() == source.read_bytes()
    run("qemu-img", "compare", "-f", "raw", "-F", "raw", uri, str(source))


def test_qemu_img_converts_and_maps_holes(primary: Stack, tmp_path: Path) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(bytes(MIB) + os.urandom(4096) + bytes(ODD_SIZE - MIB - 4096))
    uri = primary.uri("primary")
    convert = ("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw")
    run(*convert, str(source), uri)
    run(*convert[:2], *convert[3:], uri, str(back))
    assert back.read_bytes() == source.read_bytes()
    maps = json.loads(run("qemu-img", "map", "-f", "raw", "--output=json", uri))
    assert sum(part["length"] for part in maps) >= ODD_SIZE
    assert maps[0]["zero"] is True
    assert run("nbdinfo", "--map", uri).count("hole,zero") >= 1


def test_qemu_io_patterns_zeroes_discards_and_fua_are_exact(primary: Stack) -> None:
    uri = primary.uri("primary")
    steps = [
        "write -P 1 0 1M",
        "write -f -P 2 4095 8195",
        "write -z 12288 5000",
        "write -z -u 65536 65536",
        "discard 262144 65536",
        "flush",
        "read -P 1 0 4095",
        "read -P 2 4095 8193",
        "read -P 0 12288 5000",
        "read -P 1 17288 1000",
        "read -P 0 65536 65536",
        "read -P 0 262144 65536",
        "read -P 1 131072 4096",
    ]
    commands = [part for step in steps for part in ("-c", step)]
    output = run("qemu-io", "-f", "raw", *commands, uri)
    assert "failed" not in output


def test_fio_verifies_what_it_wrote(primary: Stack) -> None:
    subprocess.run(
        [
            require_tool("fio"),
            *("--name=v", "--ioengine=nbd", f"--uri={primary.uri('primary', 1)}"),
            *("--rw=randwrite", "--bs=512-128k", "--blockalign=512", "--size=32m"),
            *("--iodepth=32", "--verify=crc32c", "--do_verify=1"),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )


def test_nbd_client_lists_exports(primary: Stack) -> None:
    listed = run("nbd-client", "-l", "127.0.0.1", str(primary.nbd["primary"]))
    assert listed.split()[-2:] == ["disk0", "disk1"]


def test_crowd_that_reads_no_replies_costs_one_reply_each_and_others_are_served(
    primary: Stack,
) -> None:
    port = primary.nbd["primary"]
    crowd = [RawClient(port).go("disk1", structured=n % 2 == 0) for n in range(6)]
    before = resident_bytes(primary)
    try:
        for client in crowd:
            for _ in range(32):
                client.send(0, 0, 0, 32 * MIB)
        with RawClient(port).go("disk0") as other:
            for _ in range(100):
                assert other.request(0, 0, 0, 4096).error == 0
            assert resident_bytes(primary) - before < len(crowd) * 48 * MIB
    finally:
        for client in crowd:
            client.socket.close()


def resident_bytes(stack: Stack) -> int:
    pages = Path(f"/proc/{stack.processes['primary'].pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


ILLEGAL = """
h.set_strict_mode(0)
h.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
h.connect_uri(URI)
size = h.get_size()
def refused(number, call, *args, **options):
    try:
        call(*args, **options)
    except nbd.Error as error:
        assert error.errnum == number, (call, args, error)
    else:
        raise AssertionError(f"not refused: {call} {args}")
    assert h.pread(512, 0) is not None  # the connection lives on
b = bytearray(1024)
refused(errno.EINVAL, h.pread, 1024, size - 512)
refused(errno.EINVAL, h.pread, 512, size + 4096)
refused(errno.EINVAL, h.pread, 0, 0)
refused(errno.EINVAL, h.pread, 33 << 20, 0)
refused(errno.ENOSPC, h.pwrite, b, size - 512)
refused(errno.ENOSPC, h.zero, 1024, size - 512)
refused(errno.EINVAL, h.trim, 1024, size - 512)
refused(errno.EINVAL, h.cache, 1024, size - 512)
refused(errno.EINVAL, h.trim, 0, 0)
refused(errno.EINVAL, h.pwrite, b, 0, nbd.CMD_FLAG_NO_HOLE)
refused(errno.EINVAL, h.trim, 512, 0, nbd.CMD_FLAG_FAST_ZERO)
refused(errno.EINVAL, h.block_status, 1024, size - 512, lambda *a: 0)
h.pwrite(b, 3)
h.zero(5, 1)
h.trim(7, 1)
assert h.pread(1024, 3) == b
h.cache(512, 0)
h.flush()
h.shutdown()
print("ok")
"""


def test_illegal_requests_get_the_exact_errno_and_keep_the_connection(
    primary: Stack,
) -> None:
    assert nbdsh(ILLEGAL, primary.uri("primary")) == "ok\n"


@pytest.mark.parametrize(
    ("kind", "flags", "error"),
    [
        (0, 1 << 14, 22),  # an unknown flag
        (1, 1 << 5, 22),  # PAYLOAD_LEN was not negotiated
        (8, 0, 22),  # RESIZE
        (999, 0, 22),  # an unknown command
        (7, 0, 22),  # BLOCK_STATUS was not negotiated
        (0, 1 << 2, 22),  # DF needs structured replies
        (3, 1 << 1, 22),  # NO_HOLE on FLUSH
    ],
)
def test_what_was_not_negotiated_is_refused_and_the_next_request_answered(
    primary: Stack, kind: int, flags: int, error: int
) -> None:
    with NbdClient(primary.nbd["primary"], "disk0") as client:
        payload = bytes(512) if kind == 1 else b""
        with pytest.raises(NbdReplyError) as refusal:
            client.request(kind, 0, 512, payload, flags)
        assert refusal.value.number == error
        assert len(client.read(0, 512)) == 512


def test_old_clients_without_structured_replies_are_served(primary: Stack) -> None:
    script = """
h.set_request_structured_replies(False)
h.set_handshake_flags(0)
h.connect_uri(URI)
assert not h.get_structured_replies_negotiated()
h.pwrite(b"x" * 700, 100)
assert h.pread(700, 100) == b"x" * 700
h.shutdown()
print("ok")
"""
    assert nbdsh(script, primary.uri("primary")) == "ok\n"
