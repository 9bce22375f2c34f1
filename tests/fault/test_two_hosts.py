"""Primary and secondary on two hosts: network namespaces with a cable between them.

People reach the services by Unix sockets, which know no namespaces.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import grpc
import pytest

from blkcolo.v1 import coordinator_pb2, coordinator_pb2_grpc, primary_pb2, types_pb2
from blkcolo.v1 import primary_pb2_grpc as primary_rpc
from tests.cabled_hosts import ADDRESSES, CabledHosts, cabled_hosts, on_host
from tests.stack import MIB, PROTECTED, wait_until
from tests.tools import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.fault]

SIZE = 16 * MIB
_, SECONDARY = ADDRESSES


class TwoHosts:
    """Two namespaces, three services, one cable."""

    def __init__(self, folder: Path, hosts: CabledHosts) -> None:
        self.folder = folder
        self.hosts = hosts
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        for name in ("secondary", "primary", "coordinator"):
            config = self.folder / f"{name}.toml"
            config.write_text(self._config(name))
            host = self.hosts.other if name == "secondary" else self.hosts.one
            with (self.folder / f"{name}.log").open("ab") as log:
                command = [sys.executable, "-m", "blkcolo_cli", name]
                self.processes.append(
                    subprocess.Popen(
                        [*on_host(host), *command, "--config", config],
                        stdout=log,
                        stderr=log,
                    )
                )

    def _config(self, name: str) -> str:
        grpc_address = f"unix:{self.folder}/{name}.sock"
        if name == "secondary":
            grpc_address = f"{SECONDARY}:7402"
        text = (
            f'data_dir = "{self.folder / name}"\ngrpc.listen = "{grpc_address}"\n'
            'metrics.listen = "127.0.0.1:0"\ninsecure = true\n'
        )
        if name == "coordinator":
            return text + (
                "call_timeout_seconds = 2.0\n"
                f'[[groups]]\nname = "vm1"\nprimary = "{self.socket("primary")}"\n'
                f'secondary = "{SECONDARY}:7402"\n'
            )
        return text + (
            f'nbd.listen = "unix:{self.folder}/{name}-nbd.sock"\n'
            '[[groups]]\nname = "vm1"\n'
            + ("link_timeout_seconds = 2.0\n" if name == "primary" else "")
            + '[[groups.volumes]]\nname = "disk0"\n'
            f'path = "{self.image(name)}"\nsize = {SIZE}\n'
        )

    def socket(self, name: str) -> str:
        return f"unix:{self.folder}/{name}.sock"

    def image(self, name: str) -> Path:
        return self.folder / f"{name}.img"

    def group(self) -> coordinator_pb2.Group:
        with grpc.insecure_channel(self.socket("coordinator")) as channel:
            stub = coordinator_pb2_grpc.CoordinatorServiceStub(channel)
            request = coordinator_pb2.GetGroupRequest(group="vm1")
            answer = stub.GetGroup(request, timeout=20, wait_for_ready=True)
            group: coordinator_pb2.Group = answer.group
            return group

    def forwards(self) -> primary_pb2.ForwardStatus:
        with grpc.insecure_channel(self.socket("primary")) as channel:
            stub = primary_rpc.PrimaryServiceStub(channel)
            request = primary_pb2.PrimaryServiceGetStatusRequest(group="vm1")
            answer = stub.GetStatus(request, timeout=20, wait_for_ready=True)
            status: primary_pb2.ForwardStatus = answer.groups[0]
            return status

    def write(self, pattern: int, offset: str, length: str) -> None:
        uri = f"nbd+unix:///disk0?socket={self.folder}/primary-nbd.sock"
        command = f"write -P {pattern} {offset} {length}"
        run("qemu-io", "-f", "raw", "-c", command, uri)

    def settled(self) -> bool:
        """True when it is protected and both images hold the same."""
        status = self.forwards()
        return (
            self.group().state == PROTECTED
            and status.protected
            and status.in_flight_bytes == 0
            and self.image("primary").read_bytes()
            == self.image("secondary").read_bytes()
        )

    def close(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            process.wait(20)


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoHosts]:
    with cabled_hosts() as cabled:
        hosts = TwoHosts(tmp_path_factory.mktemp("hosts"), cabled)
        try:
            hosts.start()
            wait_until(lambda: hosts.group().state == PROTECTED, "it is protected", 40)
            yield hosts
        finally:
            hosts.close()


def test_pulled_cable_is_noticed_and_plugged_in_again_resyncs(hosts: TwoHosts) -> None:
    hosts.write(1, "0", "8M")
    wait_until(hosts.settled, "both hold it")
    hosts.hosts.plug(into=False)
    hosts.write(2, "1M", "64k")
    lost = types_pb2.FORWARD_STATE_LOST
    wait_until(lambda: hosts.forwards().state == lost, "the link is lost", 30)
    hosts.write(3, "9M", "64k")
    before = hosts.forwards().resent_bytes
    hosts.hosts.plug(into=True)
    wait_until(hosts.settled, "both hold everything", 60)
    assert hosts.forwards().resync_plan == types_pb2.RESYNC_PLAN_DIRTY
    assert hosts.forwards().resent_bytes - before <= 4 * 65536


def test_slow_and_lossy_network_replicates_all_the_same(hosts: TwoHosts) -> None:
    emulate = ["tc", "-n", hosts.hosts.one, "qdisc"]
    options = ["root", "netem", "delay", "20ms", "loss", "2%", "corrupt", "0.5%"]
    added = subprocess.run(
        [*emulate, "add", "dev", "cable", *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=10,
    )
    if added.returncode:
        pytest.skip(f"no netem in this kernel: {added.stderr.strip()}")
    try:
        hosts.write(4, "2M", "4M")
        wait_until(hosts.settled, "both hold it", 60)
    finally:
        run(*emulate, "delete", "dev", "cable", "root")
