"""The machine and the versions on it."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def versions() -> str:
    """Our own version, Python's, and those of what we run on."""
    found = {"blkcolo": version("blkcolo"), "python": platform.python_version()}
    for line in requires("blkcolo") or []:
        name = re.split(r"[^\w.-]", line, maxsplit=1)[0]
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # an extra that is not installed
            continue
    return json.dumps(found, indent=2)


def host(folders: Sequence[Path]) -> str:
    """Kernel, memory, load, and the space of the file systems of these folders."""
    memory = dict(
        line.split(":", 1)
        for line in Path("/proc/meminfo").read_text().splitlines()
        if line.startswith(("MemTotal", "MemAvailable", "Swap", "Dirty", "Writeback"))
    )
    facts = {
        "system": " ".join(platform.uname()[i] for i in (0, 2, 3, 4)),
        "cpus": os.cpu_count(),
        "load_average": os.getloadavg(),
        "memory": {name: value.strip() for name, value in memory.items()},
        "disks": {str(folder): _space(folder) for folder in folders},
    }
    return json.dumps(facts, indent=2)


def _space(folder: Path) -> dict[str, int] | str:
    try:
        space = shutil.disk_usage(folder)
    except OSError as error:
        return str(error.strerror)
    return {"total_bytes": space.total, "free_bytes": space.free}
