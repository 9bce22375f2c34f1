"""What one run of a benchmark leaves as JSON: settings, where, when, and figures."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench.report.findings import Finding, Found, Grid, Panel
from tests.bench.report.settings import Settings


@dataclass(frozen=True)
class Machine:
    """Where and when; `busy` is the load average of the minute before.

    `commit` is what was measured, with a + where it was changed since; empty where that
    is not known.
    """

    cores: int
    kernel: str
    python: str
    file_system: str
    busy: float
    day: str
    commit: str = ""

    @classmethod
    def now(cls, folder: Path) -> Machine:
        """This one, with images in `folder`."""
        return cls(
            os.cpu_count() or 1,
            platform.release(),
            platform.python_version(),
            file_system(folder),
            os.getloadavg()[0],
            datetime.datetime.now(datetime.UTC).date().isoformat(),
            _commit(),
        )


class Speed(NamedTuple):
    """How fast this machine is at what every run does, without this system.

    Attributes:
        loop_ns: CPU of a turn of a Python loop.
        copy_us: CPU of a MiB copied in memory.
        call_ns: CPU of a system call from Python.
        wake_us: until a byte was at another process and back.
    """

    loop_ns: float
    copy_us: float
    call_ns: float
    wake_us: float


#: What a caption calls them, and their units.
_SPEEDS = {
    "loop_ns": ("Python loop", "ns a turn"),
    "copy_us": ("memcpy", "us a MiB"),
    "call_ns": ("system call", "ns"),
    "wake_us": ("wake-up and back", "us"),
}


@dataclass(frozen=True)
class Record:
    """One run of one benchmark.

    Attributes:
        bench: its name.
        settings: of the run.
        machine: where and when.
        found: all that it found.
        not_judged: why its goals say nothing of this run; empty where they do.
        speeds: of the machine, before the run and behind it; empty in older records.
    """

    bench: str
    settings: Settings
    machine: Machine
    found: Found
    not_judged: str = ""
    speeds: tuple[Speed, ...] = ()

    def verdict(self, finding: Finding) -> str:
        """Met, missed, not judged; empty where there is no goal."""
        if finding.met is None:
            return ""
        if self.not_judged:
            return "not judged"
        return "met" if finding.met else "missed"

    def save(self, path: Path) -> None:
        """Writes JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        content = asdict(self)
        # asdict leaves named tuples in lists: their fields are named here.
        found = self.found
        content["found"]["findings"] = [
            {**each._asdict(), "met": None if self.not_judged else each.met}
            for each in found.findings
        ]
        content["found"]["grids"] = [each._asdict() for each in found.grids]
        content["found"]["panels"] = [each._asdict() for each in found.panels]
        content["speeds"] = [each._asdict() for each in self.speeds]
        path.write_text(json.dumps(content, indent=1) + "\n")

    def caption(self) -> str:
        """Settings, machine and day in one line."""
        asked, where = self.settings, self.machine
        parts = [
            *filter(None, [asked.text()]),
            where.file_system,
            f"{where.cores} cores",
            f"Python {where.python}",
            f"Linux {where.kernel.split('-', maxsplit=1)[0]}",
            f"load average before {where.busy:.1f}",
            where.day,
        ]
        if where.commit:
            parts.append(f"commit {where.commit}")
        if asked.quick:
            parts.append("a quick run, to see that it works")
        return ", ".join(parts) + self._speeds()

    def _speeds(self) -> str:
        """To compare the machine with that of another day."""
        if not self.speeds:
            return ""
        parts = []
        for name, (what, unit) in _SPEEDS.items():
            figures = " and ".join(f"{getattr(each, name):.1f}" for each in self.speeds)
            parts.append(f"{what} {figures} {unit}")
        return f"; the machine before and after: {', '.join(parts)}"


def load(path: Path) -> Record:
    """Reads what `Record.save` wrote."""
    content: dict[str, Any] = json.loads(path.read_text())
    found = content["found"]
    found["findings"] = [_finding(each) for each in found["findings"]]
    found["grids"] = [Grid(**each) for each in found["grids"]]
    found["panels"] = [Panel(**each) for each in found["panels"]]
    return Record(
        content["bench"],
        Settings(**content["settings"]),
        Machine(**content["machine"]),
        Found(**found),
        content.get("not_judged", ""),
        tuple(Speed(**each) for each in content.get("speeds", ())),
    )


def _finding(fields: dict[str, Any]) -> Finding:
    del fields["met"]
    low_high = fields.pop("spread")
    return Finding(**fields, spread=tuple(low_high) if low_high else None)


def _commit() -> str:
    """Of this working tree; only what is measured counts as changed."""
    try:
        head = _git("rev-parse", "--short", "HEAD")
        changed = _git("status", "--short", "--", "services", "tests/bench", "proto")
    except (OSError, subprocess.CalledProcessError):
        return ""  # no repository: a copy of the files
    return head + ("+" if changed else "")


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).parents[3]), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def file_system(folder: Path) -> str:
    """The type of the file system that a folder is on."""
    found, longest = "", -1
    where = str(folder.resolve())
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mount, kind, *_ = line.split()
        inside = where == mount or where.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= longest:
            found, longest = kind, len(mount)
    return found
