"""Runs fio's nbd engine and reads what it measured."""

from __future__ import annotations

import contextlib
import json
import subprocess
from typing import TYPE_CHECKING, NamedTuple

from tests.tools import require_tool, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.load.loads import Load

_NS_PER_US = 1000


class Measured(NamedTuple):
    """Requests a second, MiB a second, and completion latencies in us."""

    iops: float
    mib_per_second: float
    p50_us: float
    p99_us: float


def command(uri: str, load: Load, seconds: float, size: int) -> list[str]:
    """The fio command line of a load on the first `size` bytes of an export."""
    mix = [f"--rwmixread={load.read_percent}"] if load.pattern == "randrw" else []
    return [
        "fio",
        *("--name=bench", "--ioengine=nbd", f"--uri={uri}", f"--size={size}"),
        *(f"--rw={load.pattern}", f"--bs={load.block_bytes}"),
        *(f"--iodepth={load.depth}", "--time_based", f"--runtime={seconds:g}"),
        *("--randrepeat=0", "--norandommap", "--output-format=json"),
        *mix,
    ]


def measure(
    uri: str, load: Load, seconds: float, size: int, *, rate: int | None = None
) -> Measured:
    """Loads an export for so many seconds; fails where fio or a request fails.

    With a `rate`, so many requests a second are asked for at most.
    """
    most = [] if rate is None else [f"--rate_iops={rate}"]
    output = run(*command(uri, load, seconds, size), *most, timeout=seconds + 60)
    return parse(output)


@contextlib.contextmanager
def in_background(
    uri: str, load: Load, seconds: float, size: int, *, rate: int
) -> Iterator[subprocess.Popen[str]]:
    """The same meanwhile; fio ends with the block, or the block's error ends it.

    Raises:
        AssertionError: fio or a request failed.
    """
    name, *options = [*command(uri, load, seconds, size), f"--rate_iops={rate}"]
    with subprocess.Popen(
        [require_tool(name), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as started:
        try:
            yield started
            output, _ = started.communicate(timeout=60)
        finally:
            started.kill()
    assert started.returncode == 0, output


def parse(output: str) -> Measured:
    """Reads fio's JSON; text may stand before and after it."""
    found = json.loads(output[output.index("{") : output.rindex("}") + 1])
    job = found["jobs"][0]
    sides = [job[side] for side in ("read", "write") if job[side]["total_ios"]]
    slowest = max(sides, key=lambda side: float(_percentile(side, "50.000000")))
    return Measured(
        sum(side["iops"] for side in sides),
        sum(side["bw_bytes"] for side in sides) / (1 << 20),
        _percentile(slowest, "50.000000") / _NS_PER_US,
        _percentile(slowest, "99.000000") / _NS_PER_US,
    )


def _percentile(side: dict[str, dict[str, dict[str, float]]], which: str) -> float:
    return side["clat_ns"]["percentile"][which]


def write_once(
    uri: str, load: Load, amount: int, size: int, *, cover: bool = False
) -> None:
    """Writes so many bytes; with `cover`, no block twice."""
    left_out = ["--time_based", "--runtime=1", *(["--norandommap"] if cover else [])]
    options = [o for o in command(uri, load, 1, size) if o not in left_out]
    run(*options, f"--io_size={amount}", timeout=120)
