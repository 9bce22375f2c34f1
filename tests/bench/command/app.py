"""The commands: one a benchmark, all of them, and what takes their results."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from cyclopts import (
    App,
    CycloptsError,
    Parameter,
    UnknownCommandError,
    UnknownOptionError,
)
from rich.console import Console

from tests.bench.catalogue import BENCHES, BY_NAME, Bench
from tests.bench.command import ready, stopping
from tests.bench.command.options import (
    HERE,
    OUT,
    TMPFS,
    Disk,
    Folder,
    Out,
    Quick,
    Taken,
    signature,
)
from tests.bench.command.progress import progress
from tests.bench.guard import baseline, hot_paths
from tests.bench.measure import speed
from tests.bench.measure.run import Run
from tests.bench.report import page, plots, record, terminal
from tests.bench.report.record import Machine, Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.bench.report.settings import Settings

EXIT_DONE, EXIT_FAILED, EXIT_USAGE = range(3)


def _usage(error: CycloptsError) -> str:
    if isinstance(error, UnknownCommandError):
        commands = ", ".join([*BY_NAME, "all", "docs", "counts"])
        return f"{' '.join((error.unused_tokens or [])[:1])}: none of {commands}"
    if isinstance(error, UnknownOptionError):
        command = " ".join(error.command_chain or ())
        return f"{command} has no {error.token.keyword}: leave it out"
    return f"{str(error).rstrip('.')}; see --help"


app = App(
    name="bench",
    help="This system and its peers, measured; JSON, plots and tables.",
    version=version("blkcolo"),
    exit_on_error=False,
    print_error=False,
    result_action="return_value",
)


@dataclass(frozen=True)
class _Asked:
    """One benchmark as it was asked for, checked before it runs."""

    bench: Bench
    settings: Settings
    folder: Path
    out: Path


def _asked(
    bench: Bench,
    *,
    out: Path,
    quick: bool,
    folder: Path | None = None,
    option: str = "DIR=",
    **settings: Any,
) -> _Asked:
    """What is not named is as in the docs."""
    named = {name: value for name, value in settings.items() if value is not None}
    chosen = replace(bench.quick if quick else bench.settings, **named)
    where = folder or (HERE if bench.on_disk else TMPFS)
    ready.check_folder(bench, chosen, where, option)
    ready.check_out(out)
    return _Asked(bench, chosen, where, out)


def _run(asked: _Asked) -> None:
    bench, settings = asked.bench, asked.settings
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    machine, before = Machine.now(asked.folder), speed.now()
    with (
        tempfile.TemporaryDirectory(
            prefix="blkcolo-bench-", dir=asked.folder
        ) as scratch,
        progress(bench.name, console) as say,
    ):
        found = bench.measure(Run(Path(scratch), settings, say))
    not_judged = bench.not_judged(settings, machine.file_system)
    speeds = before, speed.now()
    taken = Record(bench.name, settings, machine, found, not_judged, speeds)
    stem = asked.out / bench.name
    terminal.show(taken, console)
    taken.save(stem.with_suffix(".json"))
    saved = f"{stem}.json"
    if plots.save(taken, stem.with_suffix(".png")):
        saved += f", {stem}.png"
    console.print(f"saved: {saved}")


def _command(bench: Bench) -> None:
    """Makes one command of a benchmark; its options are those that it takes."""

    def measure(**options: Any) -> None:
        _run(_asked(bench, **{"out": OUT, "quick": False, **options}))

    takes = signature(bench)
    measure.__signature__ = takes  # type: ignore[attr-defined] # for cyclopts
    measure.__annotations__ = {
        name: each.annotation for name, each in takes.parameters.items()
    }
    asked = bench.settings.options().items()
    settings = " ".join(f"--{name} {value}" for name, value in asked)
    about = f"As in the docs: {settings}; about {bench.takes} s."
    app.command(measure, name=bench.name, help=f"{bench.what}. {about}")


for _bench in BENCHES:
    _command(_bench)


def _names(only: str) -> list[str]:
    """Each that was named once, in that order; all where none was named."""
    if not only:
        return list(BY_NAME)
    names = list(dict.fromkeys(name.strip() for name in only.split(",")))
    if unknown := [name for name in names if name not in BY_NAME]:
        message = (
            f"{', '.join(unknown) or 'an empty name'}: none of {', '.join(BY_NAME)}"
        )
        raise ready.NotReadyError(message)
    return names


@app.command(name="all")
def run_all(
    *,
    folder: Folder = TMPFS,
    disk: Disk = HERE,
    only: Annotated[str, Parameter(help="Only these, with commas between.")] = "",
    quick: Quick = False,
    out: Out = OUT,
) -> int:
    """Run all benchmarks, one after the other, each in a process of its own.

    One that fails does not keep the others from being run; the exit status tells.
    """
    checked = []
    for bench in map(BY_NAME.__getitem__, _names(only)):
        where, option = (disk, "DISK=") if bench.on_disk else (folder, "DIR=")
        checked.append(_asked(bench, out=out, quick=quick, folder=where, option=option))
    console = Console(highlight=False)
    failed = []
    began = time.monotonic()
    for number, each in enumerate(checked, 1):
        name = each.bench.name
        about = "" if quick else f", about {each.bench.takes} s"
        console.rule(f"{number} of {len(checked)}: {name}{about}")
        command = [sys.executable, "-m", "tests.bench", name]
        command += ["--dir", str(each.folder), "--out", str(out)]
        if stopping.run_apart([*command, *(["--quick"] if quick else [])]) != 0:
            failed.append(name)
    console.print(f"{len(checked)} benchmarks in {time.monotonic() - began:.0f} s")
    if failed:
        _complain(f"failed: {', '.join(failed)}; run them again alone (ONLY=)")
    return EXIT_FAILED if failed else EXIT_DONE


@app.command
def docs(
    *,
    taken: Taken = OUT,
    quick: Annotated[
        bool, Parameter(negative="", help="Quick runs as well; the tables say so.")
    ] = False,
) -> None:
    """Take what was measured as the docs' figures: JSON and plots, and the tables."""
    if taken.resolve() != page.RECORDS:
        names = [name for name in BY_NAME if (taken / f"{name}.json").exists()]
        if not names:
            message = f"there is nothing in {taken}: run make bench-all before"
            raise ready.NotReadyError(message)
        _refuse_quick(taken, names, quick=quick)
        for path in (
            each
            for name in names
            for each in sorted(taken.glob(f"{name}.*"))
            if each.suffix in page.KEPT
        ):
            shutil.copy(path, page.RECORDS / path.name)
            print(f"taken: {path}")  # noqa: T201 - for people
    page.PAGE.write_text(page.filled(page.PAGE.read_text(), BENCHES, page.RECORDS))
    print(f"written: {page.PAGE}")  # noqa: T201 - for people


def _refuse_quick(taken: Path, names: list[str], *, quick: bool) -> None:
    """Before anything is taken."""
    of_quick_runs = [
        name for name in names if record.load(taken / f"{name}.json").settings.quick
    ]
    if of_quick_runs and not quick:
        message = (
            f"of a quick run: {', '.join(of_quick_runs)}; run them again without"
            " QUICK=1, or take them as they are (QUICK=1)"
        )
        raise ready.NotReadyError(message)


@app.command
def counts() -> None:
    """Count the operations of the hot paths, and take them as what is allowed."""
    with tempfile.TemporaryDirectory(dir=TMPFS) as scratch:
        found = hot_paths.measure(Path(scratch))
    baseline.save(found)
    for path, operations in found.items():
        Console(highlight=False).print(
            f"{path:8} {operations.bytecodes:6.1f} bytecodes"
            f" {operations.c_calls:5.1f} C calls a request"
        )


def _complain(text: str) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True).print(text, markup=False)


def main(arguments: Sequence[str]) -> int:
    """Runs a command.

    Returns:
        0 done; 1 a benchmark or a program that it needs failed; 2 what was asked for
        cannot be: nothing was measured.
    """
    try:
        return app(arguments) or EXIT_DONE
    except CycloptsError as error:
        _complain(_usage(error))
        return EXIT_USAGE
    except ready.NotReadyError as error:
        _complain(str(error))
        return EXIT_USAGE
    except (pytest.fail.Exception, pytest.skip.Exception) as error:
        _complain(str(error))  # a program is missing, or failed
        return EXIT_FAILED
