"""The hot paths do not grow: operations a request, against those of the last change.

What made a path dearer on purpose is written down by `make bench-counts`.
"""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest

from tests.bench import paths

BASELINE = Path(__file__).with_name("operation_counts.json")
#: More than this beyond the baseline fails.
_TOLERANCE = 1.15


def save_baseline(found: dict[str, paths.Operations]) -> None:
    """Takes what was found as what is allowed."""
    counted = {name: each._asdict() for name, each in found.items()}
    content = {"python": _python(), "operations_a_request": counted}
    BASELINE.write_text(json.dumps(content, indent=2) + "\n")


def _python() -> str:
    return ".".join(platform.python_version_tuple()[:2])


def test_no_hot_path_costs_more_operations_than_its_baseline(tmp_path: Path) -> None:
    baseline = json.loads(BASELINE.read_text())
    if baseline["python"] != _python():
        pytest.skip(f"bytecodes are those of Python {baseline['python']}")
    found = paths.measure(tmp_path)
    allowed = baseline["operations_a_request"]
    assert found.keys() == allowed.keys()
    for name, operations in found.items():
        for kind, count in operations._asdict().items():
            limit = allowed[name][kind] * _TOLERANCE
            assert count <= limit, (
                f"{name}: {count:.1f} {kind} a request, {allowed[name][kind]:.1f}"
                " before; make it cheaper, or say why not and run make bench-counts"
            )


def test_a_path_that_does_more_is_seen(tmp_path: Path) -> None:
    forward = paths.forward_path(tmp_path)
    once = paths.count(forward, paths.WRITES)
    twice = paths.count(lambda: (forward(), forward()), paths.WRITES)
    assert twice.bytecodes > once.bytecodes * 1.9
    assert twice.c_calls > once.c_calls * 1.9
