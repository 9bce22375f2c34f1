"""The hot paths do not grow: operations a request, against those of the last change.

What made a path dearer on purpose is written down by `make bench-counts`.
"""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any

import pytest

from blkcolo.nbd.connection import Connection
from blkcolo.nbd.receive_buffer import ReceiveBuffer
from blkcolo_primary.vm.local_writes import LocalWrites
from blkcolo_secondary.buffer.disk_buffer import DiskBuffer
from blkcolo_secondary.stream.receiver import Receiver
from tests.bench.guard import baseline, hot_paths
from tests.bench.guard.hot_paths import Operations
from tests.tools import in_ci

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

#: More than this beyond the baseline fails.
_TOLERANCE = 1.15
_PATHS = ("parse", "parse alone", "forward", "forward alone", "receive", "apply")


def _allowed() -> dict[str, Operations]:
    """The baseline; where it is of another Python it says nothing: a visible skip."""
    kept, here = baseline.load(), baseline.python()
    if kept.python != here:
        reason = (
            f"the operation counts are of Python {kept.python}, this is"
            f" {here}: the hot paths are not guarded"
        )
        if in_ci():
            pytest.fail(
                f"{reason}; run the tests with Python {kept.python}"
                " (make PYTHON=...), or take new counts with make bench-counts"
            )
        pytest.skip(reason)
    return kept.allowed


def dearer(
    found: Mapping[str, Operations], allowed: Mapping[str, Operations]
) -> dict[str, str]:
    """Says of each path that costs too much what it costs."""
    said: dict[str, str] = {}
    for name, limits in allowed.items():
        for kind, before in limits._asdict().items():
            count = getattr(found[name], kind)
            if count > before * _TOLERANCE:
                said[name] = f"{count:.1f} {kind} a request, {before:.1f} before"
    return said


def test_no_hot_path_costs_more_operations_than_its_baseline(tmp_path: Path) -> None:
    allowed = _allowed()
    assert tuple(allowed) == _PATHS
    said = dearer(hot_paths.measure(tmp_path), allowed)
    assert not said, f"{said}; make it cheaper, or say why not: make bench-counts"


@pytest.mark.parametrize("path", _PATHS)
@pytest.mark.parametrize("kind", Operations._fields)
def test_a_path_above_the_tolerance_is_dearer_and_one_below_is_not(
    path: str, kind: str
) -> None:
    allowed = {name: Operations(100, 10) for name in _PATHS}

    def times(factor: float) -> dict[str, Operations]:
        more = {kind: getattr(allowed[path], kind) * factor}
        return {**allowed, path: allowed[path]._replace(**more)}

    assert dearer(times(1.16), allowed).keys() == {path}
    assert not dearer(times(1.14), allowed)


#: By path: a method that only it runs, and of how many requests a call is.
_ON_PATH = {
    "parse": (ReceiveBuffer, "consume_of", hot_paths.BURST),
    "parse alone": (Connection, "_handle", 1),
    "forward": (LocalWrites, "write_each", hot_paths.BURST),
    "forward alone": (LocalWrites, "write", 1),
    "receive": (Receiver, "check_batch", hot_paths.WRITES),
    "apply": (DiskBuffer, "apply", hot_paths.WRITES),
}


@pytest.mark.parametrize("path", _PATHS)
def test_each_path_is_counted_where_the_services_run_it(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed = _allowed()
    owner, name, requests = _ON_PATH[path]
    _slow_down(monkeypatch, owner, name, requests * allowed[path].bytecodes * 0.2)
    said = dearer(hot_paths.measure(tmp_path), allowed)
    assert said.keys() == {path}


def _slow_down(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, bytecodes: float
) -> None:
    """Each call runs so many bytecodes more, at least."""
    original = getattr(owner, name)

    def slower(*arguments: Any, **named: Any) -> Any:
        left = bytecodes
        while left > 0:
            left -= 1
        return original(*arguments, **named)

    monkeypatch.setattr(owner, name, slower)


@pytest.mark.parametrize(("ci", "outcome"), [("true", "Failed"), ("", "Skipped")])
def test_another_python_fails_in_ci_and_is_skipped_elsewhere(
    ci: str, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(platform, "python_version_tuple", lambda: ("3", "99", "0"))
    with pytest.raises(BaseException, match=r"this is 3\.99") as raised:
        _allowed()
    assert type(raised.value).__name__ == outcome


def test_a_path_that_does_more_is_seen(tmp_path: Path) -> None:
    forward = hot_paths.forward_path(tmp_path)
    once = hot_paths.count(forward, hot_paths.WRITES)
    twice = hot_paths.count(lambda: (forward(), forward()), hot_paths.WRITES)
    assert twice.bytecodes > once.bytecodes * 1.9
    assert twice.c_calls > once.c_calls * 1.9
