"""deploy/systemd: as systemd reads it, and on a machine that systemd runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.deploy import images
from tests.stack import wait_until
from tests.tools import require_tool, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.deploy.engine import Engine

_UNITS = sorted((Path(__file__).parents[2] / "deploy" / "systemd").glob("*.service"))
#: systemd's own scale: 0.0 is no exposure, 2.0 and less is called OK.
_EXPOSURE = "20"
_DISK = "nbd://127.0.0.1:10809/disk0"
#: What systemd needs in a container; the units are to take their rights away.
_RIGHTS = (
    *("--cap-add", "SYS_ADMIN", "--cap-add", "SYS_PTRACE", "--cgroupns", "private"),
    *("--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"),
    *("--tmpfs", "/run", "--env", "container=docker"),
)


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


class Machine:
    """A container that systemd runs, with the three services installed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._name = engine.docker("run", "--detach", *_RIGHTS, images.MACHINE).strip()
        self._pid = str(engine.inspect(self._name)["State"]["Pid"])

    def run(self, *command: str) -> str:
        return self._engine.docker("exec", self._name, *command)

    def qemu_io(self, command: str) -> None:
        """Runs the machine's client in the container's network."""
        network = ("nsenter", "--target", self._pid, "--net")
        run(*network, "qemu-io", "-f", "raw", "-c", command, _DISK)

    def has_booted(self) -> bool:
        try:
            return self.run("systemctl", "is-system-running").strip() == "running"
        except AssertionError:  # it says "starting", or nothing yet
            return False

    def show(self, service: str, what: str) -> str:
        unit = f"blkcolo-{service}"
        return self.run(
            "systemctl", "show", "--property", what, "--value", unit
        ).strip()

    def log(self, service: str) -> str:
        return self.run("journalctl", "--unit", f"blkcolo-{service}", "-o", "cat")

    def is_protected(self) -> bool:
        try:
            self.run("/opt/blkcolo/bin/blkcolo", "status")
        except AssertionError:
            return False
        return True

    def remove(self) -> None:
        self._engine.docker("rm", "--force", "--volumes", self._name)


@pytest.fixture
def machine(engine: Engine) -> Iterator[Machine]:
    machine = Machine(engine)
    try:
        wait_until(machine.has_booted, "systemd has started the machine", 60)
        yield machine
    finally:
        machine.remove()


@pytest.mark.integration
@pytest.mark.timeout(900)
def test_systemd_starts_reloads_revives_and_stops_the_services(
    machine: Machine,
) -> None:
    services = ("secondary", "primary", "coordinator")
    machine.run("systemctl", "start", *(f"blkcolo-{name}" for name in services))
    for name in services:  # `start` has waited for READY=1
        assert machine.show(name, "ActiveState") == "active"
        assert '"ready"' in machine.log(name)
    wait_until(machine.is_protected, "the pair is protected", 60)

    process = machine.show("coordinator", "MainPID")
    machine.run("sed", "-i", '1i log.level = "debug"', "/etc/blkcolo/coordinator.toml")
    machine.run("systemctl", "reload", "blkcolo-coordinator")
    wait_until(
        lambda: "configuration reloaded" in machine.log("coordinator"), "reloaded", 30
    )
    assert machine.show("coordinator", "MainPID") == process

    before = machine.show("secondary", "MainPID")
    machine.run("systemctl", "kill", "--signal", "KILL", "blkcolo-secondary")
    wait_until(
        lambda: machine.show("secondary", "MainPID") not in ("0", before), "revived", 30
    )
    wait_until(machine.is_protected, "the pair is protected again", 60)

    machine.qemu_io("write -P 0xaa 0 64M")
    machine.run("systemctl", "stop", "blkcolo-primary")
    assert machine.show("primary", "Result") == "success", machine.log("primary")
    disks = (f"/var/lib/blkcolo/{name}/disk0.img" for name in ("primary", "secondary"))
    machine.run("cmp", *disks)  # the stop has brought everything over
