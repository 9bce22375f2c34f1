"""`python -m tests.bench`: what `make bench` runs."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from rich.console import Console

from blkcolo.process.settings import parse_size
from tests.bench import checkpoints as checkpoints_of
from tests.bench import coordinator as coordinator_of
from tests.bench import cores as cores_of
from tests.bench import cost as cost_of
from tests.bench import failover as failover_of
from tests.bench import findings, paths, report, test_operation_counts
from tests.bench import growth as growth_of
from tests.bench import scale as scale_of
from tests.bench.compare import PEERS, Plan, compare
from tests.bench.loads import LOADS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bench.findings import Finding
    from tests.bench.growth import Panel

app = App(name="bench", help="This system and its peers, measured side by side.")

_OUT = Path("bench-results")
_TMPFS = Path("/dev/shm")  # noqa: S108 - a folder of its own is made in it


@Parameter(name="*")
@dataclass(frozen=True)
class Options:
    """Where, how large and how long."""

    folder: Annotated[Path, Parameter(name="--dir", help="Where images live.")] = _TMPFS
    size: Annotated[str, Parameter(help="Size of each image.")] = "1G"
    seconds: Annotated[float, Parameter(help="Length of a load.")] = 10.0
    out: Annotated[Path, Parameter(help="Where JSON goes.")] = _OUT


_DEFAULTS = Options()


@app.command(name="compare")
def compare_peers(
    *,
    folder: Annotated[
        Path, Parameter(name="--dir", help="Where images live: tmpfs, or a disk.")
    ] = _TMPFS,
    size: Annotated[str, Parameter(help="Size of each image.")] = "1G",
    rounds: Annotated[int, Parameter(help="Runs of each load on each peer.")] = 3,
    seconds: Annotated[float, Parameter(help="Length of a run.")] = 5.0,
    load: Annotated[str, Parameter(help="Only loads whose name has this.")] = "",
    peer: Annotated[str, Parameter(help="Only peers whose name has this.")] = "",
    out: Annotated[Path, Parameter(help="Where JSON and plot go.")] = _OUT,
    name: Annotated[str, Parameter(help="Stem of the files.")] = "compare",
) -> None:
    """Compare with QEMU replication, nbdkit and qemu-nbd."""
    plan = Plan(
        parse_size(size),
        rounds,
        seconds,
        tuple(each for each in LOADS if load in each.name),
        tuple(each for each in PEERS if peer in each),
    )
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    with tempfile.TemporaryDirectory(prefix="blkcolo-bench-", dir=folder) as scratch:
        found = compare(plan, Path(scratch), console.print)
    report.save_json(found, out / f"{name}.json")
    report.save_plot(found, out / f"{name}.png")
    report.show(found, console)
    console.print(f"saved: {out / name}.json, {out / name}.png")


@app.command
def checkpoints(*, options: Options = _DEFAULTS) -> None:
    """Measure the stall and the duration of checkpoints."""
    _run(
        "checkpoints",
        options,
        lambda scratch, size: checkpoints_of.measure(scratch, size, options.seconds),
    )


@app.command
def failover(*, options: Options = _DEFAULTS) -> None:
    """Measure failover and flush with all of the disk buffered."""
    _run("failover", options, failover_of.measure)


@app.command
def cost(*, options: Options = _DEFAULTS) -> None:
    """Measure CPU, memory and bytes saved."""
    _run(
        "cost",
        options,
        lambda scratch, size: cost_of.measure(scratch, size, options.seconds),
    )


@app.command
def scale(*, options: Options = _DEFAULTS) -> None:
    """Measure many groups that write nothing."""
    _run(
        "scale",
        options,
        lambda scratch, _: scale_of.measure(scratch, options.seconds),
    )


@app.command
def growth(*, options: Options = _DEFAULTS) -> None:
    """Measure how costs grow with write rate, volume size and number of groups."""
    _plot("growth", options, growth_of.measure)


@app.command
def memory(*, options: Options = _DEFAULTS) -> None:
    """Measure memory over one run of --seconds."""
    _plot("memory", options, growth_of.memory_over_time)


def _plot(
    name: str, options: Options, measure: Callable[[Path, float], list[Panel]]
) -> None:
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory(
        prefix="blkcolo-bench-", dir=options.folder
    ) as scratch:
        panels = measure(Path(scratch), options.seconds)
    report.save_growth(panels, options.out / f"{name}.png")
    for row in growth_of.rows(panels):
        console.print("  ".join(row))
    console.print(f"saved: {options.out / name}.json, {options.out / name}.png")


@app.command
def cores(*, options: Options = _DEFAULTS) -> None:
    """Measure what a second core brings: threads, or a process a group."""
    _run("cores", options, lambda scratch, _: cores_of.measure(scratch))


@app.command
def coordinator(*, options: Options = _DEFAULTS) -> None:
    """Measure one coordinator with up to 1,000 simulated groups."""
    _run(
        "coordinator",
        options,
        lambda scratch, _: coordinator_of.measure(scratch, options.seconds),
    )


def _run(
    name: str, options: Options, measure: Callable[[Path, int], list[Finding]]
) -> None:
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory(
        prefix="blkcolo-bench-", dir=options.folder
    ) as scratch:
        found = measure(Path(scratch), parse_size(options.size))
    findings.save(found, options.out / f"{name}.json")
    findings.show(found, console)


@app.command
def counts() -> None:
    """Count the operations of the hot paths, and take them as what is allowed."""
    with tempfile.TemporaryDirectory(dir=_TMPFS) as scratch:
        found = paths.measure(Path(scratch))
    test_operation_counts.save_baseline(found)
    for path, operations in found.items():
        Console(highlight=False).print(
            f"{path:8} {operations.bytecodes:6.1f} bytecodes"
            f" {operations.c_calls:5.1f} C calls a request"
        )


if __name__ == "__main__":
    app()
