"""What a scrape costs: so many series a group and a volume, and nobody else's time."""

from __future__ import annotations

import asyncio
import re
import subprocess
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING
from urllib.error import HTTPError

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from blkcolo.addresses import Address
from blkcolo.observe import on_loop
from blkcolo.observe.metrics import MetricsServer
from tests.nbd_client import NbdClient
from tests.stack import MIB, NAMES, Stack, free_ports, running, wait_until
from tests.tools import require_tool
from tests.tracer import traced

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client.core import Metric

pytestmark = pytest.mark.integration

#: As docs/metrics.md says, with some room.
_SERIES_OF_A_GROUP = {"coordinator": 160, "primary": 70, "secondary": 40}
_SERIES_OF_A_VOLUME = {"coordinator": 0, "primary": 25, "secondary": 25}
_SERIES_OF_A_SERVICE = 650


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("scrape")
    with running(folder, sizes=(MIB, MIB), max_interval=0.1) as stack:
        for volume in ("disk0", "disk1"):
            with NbdClient(stack.nbd["primary"], volume) as vm:
                vm.write(0, bytes(4096))
                vm.read(0, 4096)
        stack.checkpoint()
        yield stack


@pytest.mark.parametrize("name", NAMES)
def test_series_of_a_group_and_of_a_volume_are_bounded(stack: Stack, name: str) -> None:
    series = [line for line in stack.scrape(name).splitlines() if line[0] != "#"]
    of_group = [line for line in series if 'group="vm1"' in line]
    of_volume = [line for line in of_group if 'volume="disk0"' in line]
    both = [line for line in of_group if 'volume="' in line]
    assert len(of_volume) <= _SERIES_OF_A_VOLUME[name]
    assert len(both) == 2 * len(of_volume)
    assert len(of_group) - len(both) <= _SERIES_OF_A_GROUP[name]
    assert len(series) - len(of_group) <= _SERIES_OF_A_SERVICE


@pytest.mark.parametrize("name", NAMES)
def test_promtool_has_nothing_against_the_metrics(stack: Stack, name: str) -> None:
    done = subprocess.run(
        [require_tool("promtool"), "check", "metrics"],
        input=stack.scrape(name),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_volumes_are_told_apart_and_sum_up_to_the_group(stack: Stack) -> None:
    with NbdClient(stack.nbd["primary"], "disk1") as vm:
        vm.write(65536, bytes(8192))
    served = 'blkcolo_primary_served_bytes_total{group="vm1",volume="%s"} %s'
    text = stack.scrape("primary")
    assert served % ("disk0", "8192.0") in text
    assert served % ("disk1", "16384.0") in text
    counted = r'^blkcolo_nbd_requests_total\{command="write".* (\S+)$'
    counts = re.findall(counted, text, re.MULTILINE)
    timed = r'^blkcolo_nbd_request_seconds_count\{command="write"\} (\S+)$'
    (of_all,) = re.findall(timed, text, re.MULTILINE)
    assert sum(map(float, counts)) == float(of_all) == 3


@pytest.mark.parametrize("name", ["primary", "secondary"])
def test_scrape_reads_no_disk_and_calls_nobody(stack: Stack, name: str) -> None:
    stack.pause()
    wait_until(lambda: stack.primary_status().in_flight_bytes == 0, "all is applied")
    stack.scrape(name)  # the first one may still import something
    calls = "open,openat,pread64,pwrite64,preadv,pwritev,fsync,fdatasync,connect"
    with traced(stack, name, "-e", f"trace={calls}") as record:
        for _ in range(3):
            stack.scrape(name)
    stack.resume()
    assert [line for line in record.read_text().splitlines() if "(" in line] == []


class Thread(Collector):
    """Says on which thread it is asked."""

    def __init__(self) -> None:
        self.asked_on: list[int] = []

    def collect(self) -> Iterable[Metric]:
        self.asked_on.append(threading.get_ident())
        yield GaugeMetricFamily("blkcolo_test", "A test.", 1.0)


async def test_states_are_collected_on_the_event_loop() -> None:
    """Another thread would see half a change, and dicts that change under it."""
    (port,) = free_ports(1)
    states = Thread()
    address = Address.parse(f"127.0.0.1:{port}")
    server = MetricsServer(address, CollectorRegistry(), None, [states])
    server.start()
    try:
        text = await asyncio.to_thread(_read, port)
    finally:
        server.stop()
    assert "blkcolo_test 1.0" in text
    assert states.asked_on == [threading.get_ident()]


async def test_scrape_of_a_loop_that_hangs_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(on_loop, "_TIMEOUT", 0.1)
    (port,) = free_ports(1)
    address = Address.parse(f"127.0.0.1:{port}")
    server = MetricsServer(address, CollectorRegistry(), None, [Thread()])
    server.start()
    with ThreadPoolExecutor(1) as reader:
        answer = reader.submit(_read, port)
        wait([answer], 10)  # on the loop's own thread: it does nothing else meanwhile
    server.stop()
    with pytest.raises(HTTPError, match="503") as refused:
        answer.result()
    with refused.value as body:
        assert b"too busy" in body.read()


def _read(port: int) -> str:
    url = f"http://127.0.0.1:{port}/metrics"
    with urllib.request.urlopen(url, timeout=5) as answer:
        return str(answer.read().decode())
