"""`python -m tests.bench`: what `make bench-...` runs."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

from cyclopts import App, Parameter
from rich.console import Console

from blkcolo.process.settings import parse_size
from tests.bench.catalogue import BENCHES, BY_NAME, Bench, Run
from tests.bench.guard import hot_paths, test_operation_counts
from tests.bench.report import page, plots, record, tables
from tests.bench.report.record import Machine, Record, Settings, size_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

app = App(
    name="bench", help="This system and its peers, measured; JSON, plots and tables."
)
_OUT = Path("bench-results")
_TMPFS = Path("/dev/shm")  # noqa: S108 - a folder of its own is made in it
_HERE = Path()


@Parameter(name="*")
@dataclass(frozen=True)
class Options:
    """What is not named is as in the docs; a benchmark refuses what it cannot use."""

    folder: Annotated[
        Path | None,
        Parameter(
            name="--dir", help="Where images live; a folder on tmpfs, or a disk."
        ),
    ] = None
    size: Annotated[str | None, Parameter(help="Size of each image: 512M, 4G.")] = None
    seconds: Annotated[float | None, Parameter(help="Length of each load.")] = None
    rounds: Annotated[int | None, Parameter(help="Runs of each load.")] = None
    quick: Annotated[
        bool, Parameter(negative="", help="Only to see that it works.")
    ] = False
    out: Annotated[Path, Parameter(help="Where JSON and plots go.")] = _OUT


_DEFAULTS = Options()


def _refuse(sentence: str) -> NoReturn:
    raise SystemExit(sentence)


def _settings(bench: Bench, options: Options) -> Settings:
    """The benchmark's, with what was asked for instead."""
    settings = bench.quick if options.quick else bench.settings
    asked: dict[str, Any] = {
        "size": None if options.size is None else parse_size(options.size),
        "seconds": options.seconds,
        "rounds": options.rounds,
    }
    for name, value in asked.items():
        if value is None:
            continue
        if getattr(settings, name) is None:
            _refuse(f"{bench.name} has no --{name}: leave it out")
        settings = replace(settings, **{name: value})
    return settings


def _folder(bench: Bench, options: Options) -> Path:
    folder = options.folder or (_HERE if bench.on_disk else _TMPFS)
    if bench.on_disk and record.file_system(folder) == "tmpfs":
        _refuse(f"{folder.resolve()} is tmpfs: name a folder on a disk (DIR=)")
    return folder


def _run(bench: Bench, options: Options) -> None:
    settings = _settings(bench, options)
    folder = _folder(bench, options)
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    machine = Machine.now(folder)
    with (
        tempfile.TemporaryDirectory(prefix="blkcolo-bench-", dir=folder) as scratch,
        _progress(bench, console) as say,
    ):
        found = bench.measure(Run(Path(scratch), settings, say))
    taken = Record(bench.name, settings, machine, found)
    stem = options.out / bench.name
    tables.show(taken, console)
    taken.save(stem.with_suffix(".json"))
    saved = f"{stem}.json"
    if plots.save(taken, stem.with_suffix(".png")):
        saved += f", {stem}.png"
    console.print(f"saved: {saved}")


def _progress(
    bench: Bench, console: Console
) -> AbstractContextManager[Callable[[str], None]]:
    """One line that changes on a terminal; lines in a pipe."""
    if console.is_terminal:
        return _Status(bench, console)
    return nullcontext(console.print)


class _Status:
    """What is measured now, and for how long."""

    def __init__(self, bench: Bench, console: Console) -> None:
        self._name = bench.name
        self._began = time.monotonic()
        self._status = console.status(bench.name)

    def __enter__(self) -> Callable[[str], None]:
        self._status.start()
        return self._say

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def _say(self, text: str) -> None:
        elapsed = time.monotonic() - self._began
        self._status.update(f"{self._name}, {elapsed:.0f} s: {text}")


def _command(bench: Bench) -> None:
    """Makes one command of a benchmark."""

    def measure(*, options: Options = _DEFAULTS) -> None:
        _run(bench, options)

    app.command(measure, name=bench.name, help=f"{bench.what}.{_takes(bench)}")


def _takes(bench: Bench) -> str:
    asked = bench.settings
    parts = []
    if asked.size is not None:
        parts.append(f"--size {size_text(asked.size).replace(' ', '')[:-2]}")
    if asked.seconds is not None:
        parts.append(f"--seconds {asked.seconds:g}")
    if asked.rounds is not None:
        parts.append(f"--rounds {asked.rounds}")
    return f" As in the docs: {' '.join(parts)}; about {bench.takes} s."


for _bench in BENCHES:
    _command(_bench)


@app.command(name="all")
def run_all(
    *,
    folder: Annotated[
        Path, Parameter(name="--dir", help="Where images live: tmpfs, as in the docs.")
    ] = _TMPFS,
    disk: Annotated[
        Path, Parameter(help="Where those of the comparison on a disk live.")
    ] = _HERE,
    only: Annotated[str, Parameter(help="Only these, with commas between.")] = "",
    quick: Annotated[
        bool, Parameter(negative="", help="Only to see that it works.")
    ] = False,
    out: Annotated[Path, Parameter(help="Where JSON and plots go.")] = _OUT,
) -> None:
    """Run all benchmarks, one after the other, each in a process of its own.

    One that fails does not keep the others from being run; the exit status tells.
    """
    names = only.split(",") if only else list(BY_NAME)
    if unknown := [name for name in names if name not in BY_NAME]:
        _refuse(f"{', '.join(unknown)}: none of {', '.join(BY_NAME)}")
    console = Console(highlight=False)
    failed = []
    began = time.monotonic()
    for number, name in enumerate(names, 1):
        bench = BY_NAME[name]
        about = "" if quick else f", about {bench.takes} s"
        console.rule(f"{number} of {len(names)}: {name}{about}")
        where = disk if bench.on_disk else folder
        command = [sys.executable, "-m", "tests.bench", name, "--dir", str(where)]
        command += ["--out", str(out), *(["--quick"] if quick else [])]
        if subprocess.run(command, check=False).returncode != 0:
            failed.append(name)
    console.print(f"{len(names)} benchmarks in {time.monotonic() - began:.0f} s")
    if failed:
        _refuse(f"failed: {', '.join(failed)}; run them again alone (--only)")


@app.command
def docs(
    *,
    taken: Annotated[
        Path, Parameter(name="--from", help="Where JSON and plots are.")
    ] = _OUT,
) -> None:
    """Take what was measured as the docs' figures: JSON and plots, and the tables."""
    if taken.resolve() != page.RECORDS:
        found = [path for name in BY_NAME for path in sorted(taken.glob(f"{name}.*"))]
        if not found:
            _refuse(f"there is nothing in {taken}: run make bench-all before")
        for path in found:
            shutil.copy(path, page.RECORDS / path.name)
            print(f"taken: {path}")  # noqa: T201
    page.PAGE.write_text(page.filled(page.PAGE.read_text()))
    print(f"written: {page.PAGE}")  # noqa: T201


@app.command
def counts() -> None:
    """Count the operations of the hot paths, and take them as what is allowed."""
    with tempfile.TemporaryDirectory(dir=_TMPFS) as scratch:
        found = hot_paths.measure(Path(scratch))
    test_operation_counts.save_baseline(found)
    for path, operations in found.items():
        Console(highlight=False).print(
            f"{path:8} {operations.bytecodes:6.1f} bytecodes"
            f" {operations.c_calls:5.1f} C calls a request"
        )


if __name__ == "__main__":
    app(sys.argv[1:])
