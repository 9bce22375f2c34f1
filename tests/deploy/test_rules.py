"""Recording and alerting rules, by Prometheus' own promtool."""

from __future__ import annotations

import re
from pathlib import Path

from tests.tools import run

_ROOT = Path(__file__).parents[2]
_RULES = _ROOT / "deploy" / "prometheus" / "rules.yml"
_TESTS = Path(__file__).with_name("rules_test.yml")


def _alerts() -> list[str]:
    return re.findall(r"- alert: (\w+)", _RULES.read_text())


def test_rules_and_scrape_configuration_are_sound() -> None:
    run("promtool", "check", "rules", str(_RULES))
    run("promtool", "check", "config", str(_RULES.with_name("prometheus.yml")))


def test_each_alert_fires_and_stays_quiet() -> None:
    tests = _TESTS.read_text()
    for alert in _alerts():
        assert f"name: {alert} fires\n" in tests
        assert f"name: {alert} is quiet\n" in tests
    run("promtool", "test", "rules", str(_TESTS))


def test_each_alert_has_a_runbook() -> None:
    headings = re.findall(
        r"^## (\w+)$", (_ROOT / "docs" / "runbooks.md").read_text(), re.MULTILINE
    )
    assert headings == _alerts()
    for alert in _alerts():
        link = f"runbook: docs/runbooks.md#{alert.lower()}\n"
        assert link in _RULES.read_text()
