"""Many groups: what they cost while nothing is written, on the pair and above it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.bench import fio
from tests.bench.cpu import cpu_seconds
from tests.bench.findings import Finding
from tests.bench.loads import BY_NAME
from tests.stack import NAMES, Stack, wait_until

if TYPE_CHECKING:
    from pathlib import Path

_MIB = 1 << 20
_SIZE = 64 * _MIB


class ManyGroups(Stack):
    """A stack of several groups of several volumes each."""

    def __init__(self, folder: Path, groups: int, volumes: int) -> None:
        """Writes configurations of `groups` groups of `volumes` volumes."""
        super().__init__(folder, sizes=(_SIZE,))
        self.groups = groups
        for name in ("primary", "secondary"):
            text = f'nbd.listen = "127.0.0.1:{self.nbd[name]}"\n'
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


def measure(folder: Path, seconds: float) -> list[Finding]:
    """100 volumes in 20 groups, against one."""
    (folder / "one").mkdir()
    (folder / "many").mkdir()
    rates = {}
    found: list[Finding] = []
    for name, groups, volumes in (("one", 1, 1), ("many", 20, 5)):
        stack = ManyGroups(folder / name, groups, volumes)
        try:
            stack.start()
            wait_until(stack.all_protected, "all groups are protected", 120)
            found += _idle(stack, f"{groups * volumes} volumes, {groups} groups")
            uri = f"nbd://127.0.0.1:{stack.nbd['primary']}/vm0-disk0"
            load = BY_NAME["4k randwrite QD32"]
            rates[name] = fio.measure(uri, load, seconds, _SIZE).iops
        finally:
            stack.close()
    ratio = rates["many"] / rates["one"]
    found.append(
        Finding("throughput of one volume among 100, of alone", ratio, "x", 0.8, True)
    )
    return found


def _idle(stack: ManyGroups, what: str) -> list[Finding]:
    before = {name: cpu_seconds(stack.processes[name].pid) for name in NAMES}
    began = time.monotonic()
    time.sleep(10)
    elapsed = time.monotonic() - began
    used = {
        name: 100 * (cpu_seconds(stack.processes[name].pid) - before[name]) / elapsed
        for name in NAMES
    }
    goal = 5 if stack.groups > 1 else None
    found = [
        Finding(f"{what}: idle {name}", used[name], "% of a core") for name in NAMES
    ]
    found.append(Finding(f"{what}: idle, all", sum(used.values()), "% of a core", goal))
    return found
