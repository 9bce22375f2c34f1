"""Many groups: what they cost while nothing is written, on the pair and above it."""

from __future__ import annotations

import contextlib
import time
from statistics import median
from typing import TYPE_CHECKING

from tests.bench.load import fio
from tests.bench.load.loads import BY_NAME
from tests.bench.measure.usage import cpu_of
from tests.bench.report.findings import Finding, Found
from tests.stack import NAMES, Stack, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.bench.measure.run import Run

_MIB = 1 << 20
_SIZE = 64 * _MIB
_MANY = (20, 5)
_IDLE_SECONDS = 10
#: NBD clients beside one a volume.
_SPARE_CONNECTIONS = 10
#: Until groups that write nothing count as quiet.
_QUIET_SECONDS = 2


class ManyGroups(Stack):
    """A stack of several groups of several volumes each."""

    def __init__(self, folder: Path, groups: int, volumes: int) -> None:
        """Writes configurations of `groups` groups of `volumes` volumes."""
        super().__init__(folder, sizes=(_SIZE,))
        self.groups = groups
        for name in ("primary", "secondary"):
            text = (
                f'nbd.listen = "127.0.0.1:{self.nbd[name]}"\n'
                f"nbd.max_connections = {_SPARE_CONNECTIONS + groups * volumes}\n"
            )
            for group in range(groups):
                text += f'[[groups]]\nname = "vm{group}"\n'
                for volume in range(volumes):
                    disk = f"vm{group}-disk{volume}"
                    text += (
                        f'[[groups.volumes]]\nname = "{disk}"\nsize = {_SIZE}\n'
                        f'path = "{folder / name}-{disk}.img"\n'
                    )
            self._write(name, text)
        self._write(
            "coordinator",
            "".join(
                f'[[groups]]\nname = "vm{group}"\n'
                f'primary = "{self.address("primary")}"\n'
                f'secondary = "{self.address("secondary")}"\n'
                for group in range(groups)
            ),
        )

    def all_protected(self) -> bool:
        """True when every group is."""
        text = self.scrape("coordinator")
        found = [
            line
            for line in text.splitlines()
            if line.startswith("blkcolo_coordinator_protected{")
            and line.endswith(" 1.0")
        ]
        return len(found) == self.groups


def measure(run: Run) -> Found:
    """100 volumes in 20 groups, against one; both run, and the load takes turns."""
    with contextlib.ExitStack() as stack:
        one = stack.enter_context(many(run.folder / "one", 1, 1))
        all_100 = stack.enter_context(many(run.folder / "many", *_MANY))
        found = _idle((one, "one volume"), (all_100, "100 volumes, 20 groups"))
        ratios = []
        for number in range(run.rounds):
            order = [one, all_100] if number % 2 else [all_100, one]
            rates = {id(each): _rate(each, run.seconds) for each in order}
            ratios.append(rates[id(all_100)] / rates[id(one)])
    what = "one of 100 volumes under load, of one alone"
    spread = (min(ratios), max(ratios))
    found.append(Finding(what, median(ratios), "x", 0.8, True, spread))
    return Found(found)


@contextlib.contextmanager
def many(folder: Path, groups: int, volumes: int) -> Iterator[ManyGroups]:
    """So many groups of so many volumes each, protected, and quiet."""
    folder.mkdir()
    stack = ManyGroups(folder, groups, volumes)
    try:
        stack.start()
        wait_until(stack.all_protected, "all groups are protected", 120)
        time.sleep(_QUIET_SECONDS)
        yield stack
    finally:
        stack.close()


def _rate(stack: ManyGroups, seconds: float) -> float:
    uri = f"nbd://127.0.0.1:{stack.nbd['primary']}/vm0-disk0"
    return fio.measure(uri, BY_NAME["4k randwrite QD32"], seconds, _SIZE).iops


def _idle(*asked: tuple[ManyGroups, str]) -> list[Finding]:
    """CPU of all of them over the same seconds."""

    def used() -> list[dict[str, float]]:
        return [cpu_of(stack) for stack, _ in asked]

    before, began = used(), time.monotonic()
    time.sleep(_IDLE_SECONDS)
    after, elapsed = used(), time.monotonic() - began
    found = []
    for (stack, what), first, last in zip(asked, before, after, strict=True):
        percent = {name: 100 * (last[name] - first[name]) / elapsed for name in NAMES}
        found += [
            Finding(f"{what}: idle {name}", percent[name], "% of a core")
            for name in NAMES
        ]
        goal = 5 if stack.groups > 1 else None
        total = sum(percent.values())
        found.append(Finding(f"{what}: idle, all", total, "% of a core", goal))
    return found
