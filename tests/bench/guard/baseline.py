"""The operations that are allowed, as they are kept beside this file."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.bench.guard.hot_paths import Operations

if TYPE_CHECKING:
    from collections.abc import Mapping

_FILE = Path(__file__).with_name("operation_counts.json")


class Baseline(NamedTuple):
    """Operations a request of each path, by one version of Python."""

    python: str
    allowed: dict[str, Operations]


def save(found: Mapping[str, Operations]) -> None:
    """Takes what was found as what is allowed."""
    counted = {name: each._asdict() for name, each in found.items()}
    content = {"python": python(), "operations_a_request": counted}
    _FILE.write_text(json.dumps(content, indent=2) + "\n")


def load() -> Baseline:
    """Reads what was saved last."""
    content = json.loads(_FILE.read_text())
    counts = content["operations_a_request"]
    allowed = {name: Operations(**each) for name, each in counts.items()}
    return Baseline(content["python"], allowed)


def python() -> str:
    """The version that counts here."""
    return ".".join(platform.python_version_tuple()[:2])
