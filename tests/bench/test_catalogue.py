"""Commands, targets and the page of the docs are those of the catalogue."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace

import pytest

from tests.bench.catalogue import BENCHES, BY_NAME
from tests.bench.report import page
from tests.tools import run


def _make(*arguments: str) -> str:
    return run("make", "-C", str(page.PAGE.parents[1]), *arguments)


def test_make_has_a_target_for_each_benchmark_and_help_names_it() -> None:
    line = next(x for x in _make("help").splitlines() if x.startswith("bench-NAME "))
    assert line.rstrip(".").split(": ")[1].split() == list(BY_NAME)


@pytest.mark.parametrize("target", ["bench-cores", "bench-all", "bench-counts"])
def test_make_hands_all_that_was_named_to_the_command(
    target: str,
) -> None:
    named = ("DIR=a b", "DISK=it's", "ONLY=c, d", "SIZE=e", "SECONDS=0", "ROUNDS=0")
    said = shlex.split(_make("-n", target, *named, "QUICK=0", "OUT=g h"))
    for each in (*named, "QUICK=0", "OUT=g h"):
        name, value = each.split("=")
        assert f"--{name.lower()}={value}" in said


def test_the_goals_are_met_or_missed_only_by_runs_with_their_settings() -> None:
    bench = BY_NAME["checkpoints"]
    asked = bench.settings
    judged = [asked, replace(asked, seconds=30)]
    other = [bench.quick, replace(asked, size=64 << 20), replace(asked, seconds=3)]
    assert not any(bench.not_judged(each, "tmpfs") for each in judged)
    assert all(bench.not_judged(each, "tmpfs") for each in other)
    assert "1 GiB, 5 rounds, 4 s a load" in bench.not_judged(other[1], "tmpfs")
    assert "not on ext4" in bench.not_judged(asked, "ext4")
    assert not BY_NAME["disk"].not_judged(BY_NAME["disk"].settings, "ext4")


def test_the_docs_tables_are_what_the_json_says() -> None:
    text = page.PAGE.read_text()
    assert page.filled(text, BENCHES) == text, "run make bench-docs"
    assert sorted(page.places(text)) == sorted([page.COMMANDS, *BY_NAME])
    assert len(BY_NAME) == len(BENCHES)


def test_the_docs_show_every_plot_and_no_other() -> None:
    shown = re.findall(r"\]\(performance/(\S+\.png)\)", page.PAGE.read_text())
    assert sorted(shown) == sorted(each.name for each in page.RECORDS.glob("*.png"))
