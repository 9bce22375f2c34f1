"""What a checkpoint costs: the VM's stall, its own time and where it goes, its growth.

Checkpoints are asked for by a fixed clock, 20 a second, whether or not the last one has
ended: the coordinator takes one after the other, and a call that finds one under way is
answered by the next. So a slow checkpoint is not made up for by fewer of them. The
writes come from `write_load`, which keeps up with fio, and knows when each was
completed. They come as fast as they are answered, or by a fixed schedule at half of
that rate. Either way a stall is the time between two completions, around a tick of the
clock: it counts at its full length, however few writes it held up, and is not measured
against the schedule.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from blkcolo.v1 import coordinator_pb2 as pb
from tests.bench.load import fio, write_load
from tests.bench.load.gaps import covers, longest_gap, percentile
from tests.bench.load.loads import BY_NAME, Load
from tests.bench.peers import pair
from tests.bench.peers.peer import timed_ms
from tests.bench.report.findings import Finding, Found, Grid
from tests.stack import wait_until

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future
    from typing import Any

    from tests.bench.measure.run import Run
    from tests.stack import Stack

_MIB = 1 << 20
_NS_PER_MS = 1_000_000
_PER_SECOND = 20
_PERIOD_NS = 1000 * _NS_PER_MS // _PER_SECOND
_QD32 = BY_NAME["4k randwrite QD32"]
#: Of the rate at full load, which keeps the window full: a VM that leaves room.
_PACED = 0.5


class Call(NamedTuple):
    """A checkpoint that was asked for and taken; times in ns of time.monotonic."""

    began: int
    ended: int
    epoch: int
    timings: pb.CheckpointTimings

    @property
    def ms(self) -> float:
        """From the call to its answer."""
        return (self.ended - self.began) / _NS_PER_MS


@dataclass(frozen=True)
class Observed:
    """What one run found.

    Attributes:
        gaps_ms: the longest gap between completions around each tick of the clock.
        calls: the checkpoints.
        writes: completed ones.
        seconds: how long that took.
    """

    gaps_ms: list[float]
    calls: list[Call]
    writes: int
    seconds: float

    @classmethod
    def of(
        cls, completions: array[int], ticks: Sequence[int], calls: Sequence[Call]
    ) -> Observed:
        """What of a run lies between its first and last completion."""
        return cls(
            gaps_ms=[
                longest_gap(completions, tick, tick + _PERIOD_NS) / _NS_PER_MS
                for tick in ticks
                if covers(completions, tick, tick + _PERIOD_NS)
            ],
            calls=[
                call for call in calls if covers(completions, call.began, call.ended)
            ],
            writes=len(completions),
            seconds=(completions[-1] - completions[0]) / 1e9,
        )

    @property
    def writes_a_second(self) -> float:
        """The load."""
        return self.writes / self.seconds

    @property
    def checkpoints_a_second(self) -> float:
        """Several calls may have had one checkpoint."""
        return len({call.epoch for call in self.calls}) / self.seconds


class Round(NamedTuple):
    """A run without checkpoints, and one with them."""

    without: Observed
    during: Observed

    def figures(self) -> list[Finding]:
        """What checkpoints cost in it."""
        return [*_stall(self.without, self.during), *_duration(self.during)]


def over(rounds: Sequence[Round]) -> list[Finding]:
    """Each figure of the rounds at one load: median, and smallest to largest."""
    found = []
    for alike in zip(*(each.figures() for each in rounds), strict=True):
        values = [each.reached for each in alike]
        found.append(_spread(alike[0], values))
    return found


def _spread(figure: Finding, values: Sequence[float]) -> Finding:
    spread = (min(values), max(values))
    return figure._replace(reached=median(values), spread=spread)


def measure(run: Run) -> Found:
    """Runs on a pair at full load, then at half of the rate that this reached."""
    size = run.size
    with pair.filled(run.folder, size) as under_test:
        stack = under_test.stack
        stack.pause()
        run.say("full load")
        full = _at_load(stack, run)
        rate = _PACED * median(each.during.writes_a_second for each in full)
        run.say(f"paced at {rate:,.0f} writes a second")
        paced = _at_load(stack, run, rate)
        run.say("by what is buffered")
        small = _commit_ms(stack, _MIB, size)
        large = _commit_ms(stack, size, size)
    found = [
        *over(full),
        _spread(Finding("checkpoint of 1 MiB, p50", 0, "ms"), small),
        _spread(Finding(f"checkpoint of {size // _MIB} MiB, p50", 0, "ms"), large),
        Finding("ratio of the two", median(large) / median(small), "x", 2),
    ]
    return Found(found, [side_by_side(over(full), over(paced), rate)])


def _at_load(stack: Stack, run: Run, rate: float | None = None) -> list[Round]:
    """Runs without and with checkpoints take turns: both meet the same machine."""
    return [
        Round(
            _observed(stack, run, rate, checkpoints=False),
            _observed(stack, run, rate, checkpoints=True),
        )
        for _ in range(run.rounds)
    ]


def _observed(
    stack: Stack, run: Run, rate: float | None, *, checkpoints: bool
) -> Observed:
    load = (stack.uri("primary"), _QD32, run.seconds, run.size, rate)
    with write_load.in_background(*load) as writes:
        ticks, calls = _tick(stack, writes, checkpoints=checkpoints)
        return Observed.of(writes.result(), ticks, calls)


def side_by_side(full: list[Finding], paced: list[Finding], rate: float) -> Grid:
    """The same figures at both loads."""
    column = f"paced at {rate:,.0f} writes/s"
    cells = {
        ", ".join(filter(None, [a.what, a.unit])): {
            "full load": a.reached,
            column: b.reached,
        }
        for a, b in zip(full, paced, strict=True)
    }
    return Grid("At full load, and paced at half of its rate", "what", cells)


def _tick(
    stack: Stack, writes: Future[array[int]], *, checkpoints: bool
) -> tuple[list[int], list[Call]]:
    """The ticks of the clock until the load ends, and a checkpoint at each of them.

    Raises:
        grpc.RpcError: a checkpoint could not be taken.
    """
    request = pb.CheckpointRequest(group="vm1")
    ticks: list[int] = []
    calls: list[tuple[int, Any, list[int]]] = []
    due = time.monotonic_ns()
    while not writes.done():
        time.sleep(max(0, due - time.monotonic_ns()) / 1e9)
        ticks.append(time.monotonic_ns())
        due += _PERIOD_NS
        if checkpoints:
            ended: list[int] = []
            call = stack.coordinator.Checkpoint.future(request, timeout=20)
            call.add_done_callback(_noting_time(ended))
            calls.append((ticks[-1], call, ended))
    return ticks, [_answered(*call) for call in calls]


def _noting_time(noted: list[int]) -> Callable[[object], None]:
    return lambda _: noted.append(time.monotonic_ns())


def _answered(began: int, call: Any, ended: list[int]) -> Call:
    answer = call.result()
    wait_until(lambda: ended, "the call's end is noted")
    return Call(began, ended[0], answer.epoch, answer.timings)


def _stall(without: Observed, during: Observed) -> list[Finding]:
    usual = without.gaps_ms
    return [
        Finding(
            "stall around a checkpoint: p99 of the gaps with, less that without",
            percentile(during.gaps_ms, 99) - percentile(usual, 99),
            "ms",
            5,
        ),
        Finding("the same of the p50s", median(during.gaps_ms) - median(usual), "ms"),
        Finding(
            "longest gap with checkpoints, p99", percentile(during.gaps_ms, 99), "ms"
        ),
        Finding("longest gap without checkpoints, p99", percentile(usual, 99), "ms"),
        Finding(
            "checkpoints a second",
            during.checkpoints_a_second,
            "",
            0.95 * _PER_SECOND,
            at_least=True,
        ),
        Finding("writes a second with checkpoints", during.writes_a_second, ""),
        Finding("writes a second without", without.writes_a_second, ""),
    ]


def _duration(during: Observed) -> list[Finding]:
    """How long checkpoints took, and which step of them."""
    durations = [call.ms for call in during.calls]

    def step(seconds: Callable[[pb.CheckpointTimings], float]) -> float:
        return median(seconds(call.timings) * 1000 for call in during.calls)

    outside = [call.ms - call.timings.total_seconds * 1000 for call in during.calls]
    return [
        Finding(
            "duration of a checkpoint under load, p50", median(durations), "ms", 10
        ),
        Finding("the same, p99", percentile(durations, 99), "ms"),
        Finding("of it: call, wait, record, p50", median(outside), "ms"),
        Finding("of it: barrier, p50", step(lambda t: t.prepare_primary_seconds), "ms"),
        Finding(
            "of it: until all before the barrier is applied, p50",
            step(lambda t: t.prepare_secondary_seconds),
            "ms",
        ),
        Finding("of it: commit, p50", step(lambda t: t.do_secondary_seconds), "ms"),
    ]


def _commit_ms(stack: Stack, amount: int, size: int) -> list[float]:
    """The times of checkpoints of so many buffered bytes, all applied."""
    block = min(amount, _MIB)
    load = Load("fill", "write", block, 8)
    times = []
    for _ in range(3):
        fio.write_once(stack.uri("primary"), load, amount, size)
        pair.wait_applied(stack)
        began = time.perf_counter()
        stack.take_checkpoint()
        times.append(timed_ms(began))
    return times
