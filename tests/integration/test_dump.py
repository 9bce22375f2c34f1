"""`blkcolo dump`: what a support bundle holds, and what it must never hold."""

from __future__ import annotations

import json
import tarfile
from typing import TYPE_CHECKING

import pytest

from blkcolo.security.authorization import PeerRole
from blkcolo_cli.dump.bundle import without_secrets
from tests.integration.test_operating import blkcolo, on_terminal
from tests.lab import Lab
from tests.nbd_client import NbdClient
from tests.stack import NAMES, ODD_SIZE, Stack, started

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration

ON_DISK = b"content of the VM's disk " * 200
#: Nothing else said: the configured coordinator is asked.
DEFAULT = "127.0.0.1:7400"
KINDS = (("configuration", "json"), ("metrics", "prom"))
KEY = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\nAAAA\n-----END EC PRIVATE KEY-----"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """With certificates, data on the disks, and something in an overlay."""
    folder = tmp_path_factory.mktemp("dump")
    lab = Lab(folder / "lab")
    for role in PeerRole:
        lab.issue(role.value)
    stack = Stack(folder, lab=lab)
    for name in ("primary", "secondary"):  # the test's NBD client has no TLS
        config = stack.config(name)
        config.write_text('nbd.tls = "never"\n' + config.read_text())
    with started(stack):
        with NbdClient(stack.nbd["primary"], "disk0") as vm:
            vm.write(4096, ON_DISK)
        stack.checkpoint()
        yield stack


def options(stack: Stack) -> list[str]:
    given = []
    for name in NAMES:
        given += ["--config", f"{name}={stack.config(name)}"]
    return given


def unpacked(path: Path) -> dict[str, str]:
    """Texts by name, without the top folder."""
    with tarfile.open(path) as archive:
        found = {}
        for entry in archive:
            file = archive.extractfile(entry)
            assert file is not None
            assert entry.mode == 0o600
            found[entry.name.split("/", 1)[1]] = file.read().decode()
        return found


def test_bundle_has_all_that_helps_and_no_secret(stack: Stack, tmp_path: Path) -> None:
    log = tmp_path / "primary.log"
    log.write_text(f'old\n{KEY}\npassword = "hunter2"\n' + stack.log("primary"))
    done = blkcolo(
        "dump",
        *("--output", str(tmp_path / "dump.tar.gz")),
        *options(stack),
        *("--log", f"primary={log}"),
        coordinator=DEFAULT,
    )
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    assert "missing" not in done.stdout
    assert (tmp_path / "dump.tar.gz").stat().st_mode & 0o777 == 0o600
    found = unpacked(tmp_path / "dump.tar.gz")
    assert set(found) == {
        *(f"{kind}/{name}.{end}" for name in NAMES for kind, end in KINDS),
        *(f"state/{name}/files.txt" for name in NAMES),
        *("command.txt", "host.json", "missing.txt", "versions.json"),
        *("status/primary.json", "status/secondary.json"),
        *("status/groups.json", "status/checkpoints.json", "logs/primary.log"),
        *("status/explain.json", "status/events.json"),
        *("state/primary/vm1/disk0.txt", "state/secondary/vm1/disk0.txt"),
        *("state/secondary/vm1/journal.json", "state/coordinator/store.json"),
    }
    assert_helpful(stack, found)
    assert_no_secret(stack, found)


def assert_helpful(stack: Stack, found: dict[str, str]) -> None:
    assert found["missing.txt"] == "nothing\n"
    committed = stack.group().committed_epoch
    (group,) = json.loads(found["status/groups.json"])
    assert group["state"] == "GROUP_STATE_PROTECTED"
    (listed,) = json.loads(found["status/checkpoints.json"])
    assert [int(each["epoch"]) for each in listed["checkpoints"]] == [committed]
    (explained,) = json.loads(found["status/explain.json"])
    assert {verb["verb"]: verb["possible"] for verb in explained["verbs"]}["protect"]
    events = json.loads(found["status/events.json"])
    assert events[-1]["message"] == "protected, was starting"
    assert json.loads(found["state/secondary/vm1/journal.json"])["committed"] == (
        committed
    )
    (row,) = json.loads(found["state/coordinator/store.json"])
    assert row["committed"] == committed
    (forward,) = json.loads(found["status/primary.json"])["primary"]["groups"]
    assert forward["protected"]
    assert "groups/vm1/journal" in found["state/secondary/files.txt"]
    assert f" {ODD_SIZE} bytes" in found["state/primary/vm1/disk0.txt"]
    assert "blkcolo_primary_sent_bytes_total" in found["metrics/primary.prom"]
    shown = json.loads(found["configuration/primary.json"])
    assert stack.lab is not None
    assert shown["tls"]["key"] == str(stack.lab.key("node"))  # where, not what
    host = json.loads(found["host.json"])
    assert host["disks"][str(stack.folder / "primary")]["free_bytes"] > 0
    assert "MemTotal" in host["memory"]
    assert json.loads(found["versions.json"])["grpcio"]
    assert '"ready"' in found["logs/primary.log"]


def assert_no_secret(stack: Stack, found: dict[str, str]) -> None:
    everything = "\n".join(found.values())
    assert stack.lab is not None
    for path in stack.lab.folder.glob("*.pem"):
        for line in path.read_text().splitlines():
            assert line not in everything, path
    for secret in ("-----BEGIN", "MHcCAQEE", "hunter2", ON_DISK[:20].decode()):
        assert secret not in everything


def test_what_cannot_be_had_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("data_dir = 1\n")
    gone = tmp_path / "gone.toml"
    gone.write_text(
        f'data_dir = "{tmp_path / "no-such"}"\ngrpc.listen = "127.0.0.1:1"\n'
        'metrics.listen = "127.0.0.1:2"\n'
    )
    output = tmp_path / "dump.tar.gz"
    done = blkcolo(
        *("dump", "--output", str(output), "--log", "primary=/no/such/log"),
        *("--config", f"secondary={broken}", "--config", f"coordinator={gone}"),
        coordinator=DEFAULT,
    )
    assert done.returncode == 0, done.stderr
    missing = unpacked(output)["missing.txt"].splitlines()
    for line, why in (
        ("configuration/secondary.json", "groups: missing"),
        ("metrics/coordinator.prom", "Connection refused"),
        ("state/coordinator/files.txt", "No such file"),
        ("state/coordinator/store.json", "unable to open"),
        ("status/groups.json", "cannot be reached"),
        ("logs/primary.log", "No such file"),
    ):
        assert any(each.startswith(f"{line}: ") for each in missing), missing
        assert why in unpacked(output)["missing.txt"]
    assert all(f"missing: {each}" in done.stdout for each in missing)
    wrong = blkcolo("dump", "--config", str(gone), coordinator=DEFAULT)
    assert wrong.returncode == 2
    assert "SERVICE=FILE" in wrong.stderr


def test_progress_is_shown_in_place_on_a_terminal(tmp_path: Path) -> None:
    output = tmp_path / "dump.tar.gz"
    shown = on_terminal(
        "dump", "--output", str(output), coordinator="127.0.0.1:1", until="missing:"
    )
    assert "\x1b[" in shown
    assert output.exists()


@pytest.mark.parametrize(
    "text",
    [
        KEY,
        json.dumps({"key": KEY}),
        KEY[:50],  # a log that was cut behind it
        KEY[40:],  # and before it
        'token: "MHcCAQEE"',
        "etcd_password=MHcCAQEE",
        '{"secret": "MHcCAQEE", "other": 1}',
    ],
)
def test_no_shape_of_a_secret_gets_through(text: str) -> None:
    shown = without_secrets(f"before\n{text}\n")
    assert "MHcCAQEE" not in shown
    assert "AAAA" not in shown
    assert "(left out)" in shown
