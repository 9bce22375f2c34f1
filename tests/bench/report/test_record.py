"""What one run leaves can be read again, and says how it was taken."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.bench.load import fio
from tests.bench.peers import pair
from tests.bench.report import record, tables
from tests.bench.report.findings import Finding, Found, Grid, Panel
from tests.bench.report.record import Machine, Record, Speed
from tests.bench.report.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

_MACHINE = Machine(2, "6.1.0-x", "3.11.2", "tmpfs", 0.25, "2026-11-25")


def _record(found: Found) -> Record:
    return Record("compare", Settings(1 << 30, 2.0, 3), _MACHINE, found)


def test_a_record_that_is_read_again_is_the_same(tmp_path: Path) -> None:
    sample = fio.Measured(1000, 4, 20, 90)._asdict()
    written = _record(
        Found(
            [Finding("rate", 0.5, "x", 0.7, True, (0.25, 0.75)), Finding("n", 3, "")],
            [Grid("CPU", "load", {"4k": {"primary": 11.5, "secondary": 10.25}})],
            [Panel("Memory", "seconds", "MiB", {"primary": [(0, 50), (1, 51)]})],
            {pair.NAME: "equal"},
            {"4k": {pair.NAME: [sample]}},
        )
    )
    written.save(tmp_path / "out.json")
    read = record.load(tmp_path / "out.json")
    assert tables.markdown(read) == tables.markdown(written)
    assert read.found.findings == written.found.findings
    assert read.settings == written.settings


def test_a_caption_says_how_fast_the_machine_was_before_and_after(
    tmp_path: Path,
) -> None:
    speeds = Speed(31.26, 90, 170, 5), Speed(35, 91, 170, 60)
    replace(_record(Found()), speeds=speeds).save(tmp_path / "out.json")
    read = record.load(tmp_path / "out.json")
    assert read.speeds == speeds
    assert read.caption().endswith(
        "the machine before and after: Python loop 31.3 and 35.0 ns a turn, memcpy 90.0"
        " and 91.0 us a MiB, system call 170.0 and 170.0 ns, wake-up and back 5.0 and"
        " 60.0 us"
    )


def test_a_table_says_spread_goal_and_verdict() -> None:
    found = Found([Finding("rate", 0.5, "x", 0.7, True, (0.25, 0.75))])
    text = tables.markdown(_record(found))
    assert "| rate | 0.50 x (0.25 to 0.75) | >= 0.7 x | missed |" in text
    assert "images of 1 GiB, 3 rounds, 2 s a load, tmpfs" in text


def test_a_goal_of_other_settings_is_not_judged_and_the_reason_is_told(
    tmp_path: Path,
) -> None:
    found = Found([Finding("rate", 0.5, "x", 0.7), Finding("n", 3, "")])
    written = replace(_record(found), not_judged="the goals are of 5 rounds")
    written.save(tmp_path / "out.json")
    text = tables.markdown(record.load(tmp_path / "out.json"))
    assert "| rate | 0.50 x | <= 0.7 x | not judged |" in text
    assert "Not judged: the goals are of 5 rounds." in text
    saved = json.loads((tmp_path / "out.json").read_text())["found"]["findings"]
    assert [each["met"] for each in saved] == [None, None]


def test_without_a_goal_nothing_is_said_of_verdicts() -> None:
    written = replace(_record(Found([Finding("n", 3, "")])), not_judged="no matter")
    assert "judged" not in tables.markdown(written)


def test_a_quick_run_is_marked_above_its_tables() -> None:
    quick = replace(_record(Found()), settings=Settings(1 << 30, quick=True))
    assert tables.markdown(quick).startswith("**A quick run")
    assert "quick" not in tables.markdown(_record(Found()))
