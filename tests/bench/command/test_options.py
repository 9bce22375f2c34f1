"""A command takes what means something to it, and refuses the rest in one line."""

from __future__ import annotations

import re
import shutil
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest

from tests.bench.catalogue import BY_NAME
from tests.bench.command import ready, stopping
from tests.bench.command.app import app, main
from tests.bench.report import page
from tests.bench.report.findings import Found
from tests.bench.report.record import Machine, Record

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_MACHINE = Machine(2, "6.1.0-x", "3.11.2", "tmpfs", 0.25, "2026-11-25")


def _refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert not captured.out
    assert captured.err.count("\n") == 1
    return captured.err.strip()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("cores --size 1G", "cores has no --size: leave it out"),
        ("cores --only cpu", "cores has no --only: leave it out"),
        ("cost --disk /", "cost has no --disk: leave it out"),
        ("counts --size 1G", "counts has no --size: leave it out"),
        ("all --rounds 3", "all has no --rounds: leave it out"),
        ("cores --rounds 0", "Give at least 1"),
        ("cost --size abc", "give bytes as a number"),
        ("cost --size 0", "Give whole MiB, at least 64 MiB"),
        ("cost --size 100", "Give whole MiB, at least 64 MiB"),
        ("cost --size 67108865", "Give whole MiB, at least 64 MiB"),
        ("cost --seconds 0", "Give at least 1"),
        ("cost --seconds=-1", "Give at least 1"),
        ("cost --seconds nan", "Give at least 1"),
        ("cost --seconds inf", "Give at least 1"),
        ("cost --quick=maybe", "--quick"),
        ("cost --dir /nonexistent", "Name a folder that exists"),
        ("all --disk /nonexistent", "Name a folder that exists"),
        ("docs --from /nonexistent", "Name a folder that exists"),
        ("all --only cpu,cups", "cups: none of compare"),
        ("all --only cpu,", "an empty name: none of compare"),
        ("bogus --size 1G", "bogus: none of compare, checkpoints"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    arguments: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in _refused(capsys, *arguments.split())


def test_all_takes_names_with_blanks_between_and_each_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    def run_apart(command: Sequence[str]) -> int:
        ran.append(command[3])
        return 0

    monkeypatch.setattr(stopping, "run_apart", run_apart)
    out = str(tmp_path)
    asked = ("--only", "floors, cores,floors", "--quick", "--dir", out, "--out", out)
    assert main(["all", *asked]) == 0
    assert ran == ["floors", "cores"]
    assert "2 benchmarks in" in capsys.readouterr().out


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == version("blkcolo")


@pytest.mark.parametrize(
    ("arguments", "quick"),
    [("", None), ("--quick=0", False), ("--quick=no", False), ("--quick=1", True)],
)
def test_quick_may_be_denied(arguments: str, quick: bool | None) -> None:
    _, bound, *_ = app.parse_args(["cores", *arguments.split()])
    assert bound.arguments.get("quick") is quick


@pytest.mark.parametrize("name", BY_NAME)
def test_help_lists_the_options_that_a_benchmark_takes_and_no_other(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, "--help"]) == 0
    shown = set(re.findall(r"--[a-z]+(?= )", capsys.readouterr().out.split("Param")[1]))
    takes = {f"--{each}" for each in BY_NAME[name].settings.options()}
    assert shown == {"--dir", "--quick", "--out", *takes}


def test_results_that_cannot_be_written_are_refused_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    out = str(tmp_path / "file" / "results")
    for command in ("cost", "all"):
        assert "(OUT=)" in _refused(capsys, command, "--quick", "--out", out)


def test_no_benchmark_begins_where_one_has_no_room_for_its_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def free(folder: Path) -> shutil._ntuple_diskusage:
        return real(folder)._replace(free=1 << 30 if folder == tmp_path else 1 << 40)

    real = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", free)
    monkeypatch.setattr(ready, "file_system", lambda _: "ext4")
    where = ("--disk", str(tmp_path), "--out", str(tmp_path / "out"))
    said = _refused(capsys, "all", "--only", "cores,disk", *where)
    assert "disk needs 3,328 MiB in" in said
    assert "1,024 MiB are free: name another folder (DISK=)" in said


def test_a_tmpfs_has_no_more_room_than_there_is_memory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ready, "file_system", lambda _: "tmpfs")
    monkeypatch.setattr(ready, "_memory", lambda: 100 << 20)
    where = ("--dir", str(tmp_path), "--out", str(tmp_path / "out"))
    said = _refused(capsys, "cores", *where)
    assert "cores needs 512 MiB in" in said
    assert "100 MiB are free: name another folder (DIR=)" in said


def test_a_disk_that_is_tmpfs_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ready, "file_system", lambda _: "tmpfs")
    said = _refused(capsys, "all", "--only", "disk", "--disk", str(tmp_path))
    assert said.endswith("is tmpfs, no disk: name another folder (DISK=)")


def test_the_docs_take_quick_runs_only_where_that_was_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    records, taken = tmp_path / "docs", tmp_path / "taken"
    records.mkdir()
    text = "<!-- figures: cores -->\n\n<!-- end -->\n"
    (tmp_path / "page.md").write_text(text)
    monkeypatch.setattr(page, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(page, "RECORDS", records)
    quick = BY_NAME["cores"].quick
    Record("cores", quick, _MACHINE, Found()).save(taken / "cores.json")
    said = _refused(capsys, "docs", "--from", str(taken))
    assert said.startswith("of a quick run: cores; run them again without QUICK=1")
    assert not list(records.iterdir())
    assert page.PAGE.read_text() == text
    (taken / "cores.log").write_text("what make said")
    assert main(["docs", "--from", str(taken), "--quick=1"]) == 0
    assert [path.name for path in records.iterdir()] == ["cores.json"]
    assert "**A quick run" in page.PAGE.read_text()
