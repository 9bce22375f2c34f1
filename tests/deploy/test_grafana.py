"""The Grafana board against a real Prometheus that scrapes real services."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import subprocess
import threading
import urllib.parse
import urllib.request
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from blkcolo.v1 import coordinator_pb2, primary_pb2
from tests.nbd_client import NbdClient
from tests.stack import MIB, Stack, free_ports, running, wait_until
from tests.tools import require_tool

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

_GRAFANA = Path(__file__).parents[2] / "deploy" / "grafana"
_BOARD = _GRAFANA / "dashboards" / "blkcolo.json"


def _queries() -> list[tuple[str, str]]:
    """Title and expression of every target, as Grafana would send it."""
    found = []
    for row in json.loads(_BOARD.read_text())["panels"]:
        for panel in [row, *row.get("panels", [])]:
            for target in panel.get("targets", []):
                expr = target["expr"].replace("$__rate_interval", "1m")
                found.append((panel["title"], expr.replace("$group", ".*")))
    return found


def test_board_is_what_the_generator_makes() -> None:
    spec = importlib.util.spec_from_file_location("generate", _GRAFANA / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    assert _BOARD.read_text() == generator.build(), "run deploy/grafana/generate.py"


class Prometheus:
    """A real one, with the project's own rules."""

    def __init__(self, folder: Path, stack: Stack) -> None:
        (self.port,) = free_ports(1)
        rules = _GRAFANA.parent / "prometheus" / "rules.yml"
        scrapes = [
            {
                "job_name": f"blkcolo-{name}",
                "static_configs": [{"targets": [f"127.0.0.1:{port}"]}],
            }
            for name, port in stack.metrics.items()
        ]
        config = {
            "global": {"scrape_interval": "500ms", "evaluation_interval": "1s"},
            "rule_files": [str(rules)],
            "scrape_configs": scrapes,
        }
        (folder / "prometheus.json").write_text(json.dumps(config))
        with (folder / "prometheus.log").open("wb") as log:
            self.process = subprocess.Popen(
                [
                    require_tool("prometheus"),
                    f"--config.file={folder / 'prometheus.json'}",
                    f"--storage.tsdb.path={folder / 'tsdb'}",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                ],
                stdout=log,
                stderr=log,
            )

    def query(self, expr: str) -> list[Any]:
        arguments = urllib.parse.urlencode({"query": expr})
        url = f"http://127.0.0.1:{self.port}/api/v1/query?{arguments}"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                found = json.load(answer)
        except OSError:
            return []  # it is starting, or refuses the query: then it stays empty
        result: list[Any] = found["data"]["result"]
        return result

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Prometheus]:
    with running(tmp_path, sizes=(4 * MIB,), max_interval=0.2) as stack:
        server, done = Prometheus(tmp_path, stack), threading.Event()
        vm = threading.Thread(target=_write_until, args=(stack, done), name="vm")
        vm.start()
        try:
            stack.coordinator.Verify(
                coordinator_pb2.VerifyRequest(group="vm1"), timeout=60
            )
            yield server
        finally:
            done.set()
            vm.join()
            server.stop()


def _write_until(stack: Stack, done: threading.Event) -> None:
    """A VM that writes and reads, and somebody who calls for what is refused."""
    wrong = primary_pb2.GetSentDataSizeRequest(group="none")
    with NbdClient(stack.nbd["primary"], "disk0") as vm:
        while not done.wait(0.05):
            vm.write(0, bytes(range(256)) * 64)
            vm.read(4096, 4096)
            with contextlib.suppress(grpc.RpcError):
                stack.primary.GetSentDataSize(wrong, timeout=5)


def test_every_panel_has_data(prometheus: Prometheus) -> None:
    for title, expr in _queries():
        wait_until(partial(_has_numbers, prometheus, expr), f"{title}: {expr}", 60)


def _has_numbers(prometheus: Prometheus, expr: str) -> bool:
    values = [float(sample["value"][1]) for sample in prometheus.query(expr)]
    return any(math.isfinite(value) for value in values)


def test_recording_rules_have_data_and_no_alert_fires(prometheus: Prometheus) -> None:
    for name in ("recovery_point_age_seconds", "sent_bytes:rate1m"):
        wait_until(partial(_has_numbers, prometheus, f"blkcolo:{name}"), name, 60)
    assert prometheus.query('ALERTS{alertstate="firing"}') == []
