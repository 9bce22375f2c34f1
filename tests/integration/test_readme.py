"""Runs the README: every console block, on the services that `make run` runs."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from blkcolo.process.settings import load
from blkcolo_coordinator.settings import CoordinatorSettings
from blkcolo_node.settings import PrimarySettings, SecondarySettings
from tests import configuration_table
from tests.stack import wait_until
from tests.tools import require_tool

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.integration, pytest.mark.nbd]

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BIN = Path(sys.executable).parent


def section(title: str) -> str:
    found = re.search(
        rf"^## {title}$(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL
    )
    assert found, title
    return found[1]


def console_blocks(text: str) -> str:
    return "".join(re.findall(r"```console\n(.*?)```", text, re.DOTALL))


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Path]:
    """What `make run` runs, on the default ports that the README names."""
    output = tmp_path / "up.log"
    with output.open("w") as log:
        process = subprocess.Popen(
            [BIN / "blkcolo", "up", "--data", tmp_path / "data", "--size", "1G"],
            stdout=log,
            stderr=log,
        )
    try:
        wait_until(
            lambda: process.poll() is not None or "ready" in output.read_text(),
            "up is ready",
        )
        assert process.poll() is None, output.read_text()
        wait_until(lambda: "state=protected" in output.read_text(), "protected")
        yield output
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(40)
    assert code == 0, output.read_text()
    assert output.read_text().rstrip().endswith("stopped")


@pytest.mark.usefixtures("up")
@pytest.mark.parametrize("title", ["Five minutes", "Changing roles", "By grpcurl"])
def test_console_blocks_do_what_the_readme_says(title: str) -> None:
    require_tool("qemu-io")
    require_tool("grpcurl")
    lines = console_blocks(section(title)).splitlines()
    script = ["exec 2>&1"]
    expected: list[list[str]] = []
    for line in lines:
        if line.startswith("$ "):
            script += [line[2:], f"echo '=== {len(expected)}' $?"]
            expected.append([])
        else:
            expected[-1].append(line)
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    outputs = re.split(r"^=== \d+ (\d+)\n", done.stdout, flags=re.MULTILINE)
    assert len(outputs) == 2 * len(expected) + 1, done.stdout
    for number, wanted in enumerate(expected):
        output, code = outputs[2 * number], outputs[2 * number + 1]
        assert code == "0", output
        for line in wanted:
            pattern = re.escape(line).replace(re.escape("..."), ".*")
            assert re.search(rf"^{pattern}", output, re.MULTILINE), (
                f"{line!r} not in {output}"
            )


def test_configuration_table_is_that_of_the_settings() -> None:
    lines = section("Configuration").splitlines()
    table = {
        tuple(cell.strip() for cell in line.strip("|").split("|")[:3])
        for line in lines
        if line.startswith("| `")
    }
    options = set(configuration_table.rows())
    assert table == options, (
        f"missing: {options - table}; no such option: {table - options}"
    )


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("primary", PrimarySettings),
        ("secondary", SecondarySettings),
        ("coordinator", CoordinatorSettings),
    ],
)
@pytest.mark.parametrize("folder", ["", "compose/one-host", "compose/two-hosts"])
def test_example_configurations_load(
    name: str, model: type[PrimarySettings], folder: str
) -> None:
    path = ROOT / "deploy" / folder / f"{name}.toml"
    settings = load(model, path)
    assert str(settings.data_dir) == tomllib.loads(path.read_text())["data_dir"]


def test_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)$", section("Two commands"), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
