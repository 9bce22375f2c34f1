"""deploy/compose.yaml on two hosts, with TLS: an engine and a network for each."""

from __future__ import annotations

import json
import os
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.cabled_hosts import ADDRESSES, CabledHosts, cabled_hosts, on_host
from tests.deploy import images
from tests.deploy.engine import Engine, running_engine
from tests.deploy.prometheus_answers import wait_until_all_is_scraped
from tests.stack import wait_until
from tests.tools import require_tool, run

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

PRIMARY, SECONDARY = ADDRESSES
_SIDES = {"primary": (PRIMARY, 10809), "secondary": (SECONDARY, 10810)}
_PROJECT = "blkcolo-test"
#: As deploy/env.example says: who reads which certificates.
_OWNERS = {"node": 10001, "coordinator": 10001, "observer": 65534}


class TwoHosts:
    """The primary on one, the secondary, the coordinator and Prometheus on the other.

    People sit at the second one.
    """

    def __init__(self, hosts: CabledHosts, engines: list[Engine], pki: Path) -> None:
        self.hosts = hosts
        self.one, self.other = engines
        self.pki = pki
        self.variables = {
            "PRIMARY_HOST": PRIMARY,
            "SECONDARY_HOST": SECONDARY,
            "COORDINATOR_HOST": SECONDARY,
            "CERTS": str(pki),
            "PROMETHEUS_CONFIG": "prometheus-tls.yml",
            "BLKCOLO_IMAGE": images.SERVICES,
            "PROMETHEUS_IMAGE": images.PROMETHEUS,
        }

    def make_certificates(self) -> None:
        names = ",".join(["primary", "secondary", "coordinator", *ADDRESSES])
        blkcolo = Path(sys.executable).parent / "blkcolo"
        run(str(blkcolo), "certs", "init", str(self.pki), "--hosts", names)
        for folder, owner in _OWNERS.items():
            for path in [self.pki / folder, *(self.pki / folder).iterdir()]:
                os.chown(path, owner, owner)
        for above in (self.pki, *self.pki.parents[:3]):
            above.chmod(0o755)  # pytest's own are for the tests' user alone

    def compose(self, engine: Engine, *arguments: str) -> str:
        profiles = ["primary"] if engine is self.one else ["secondary", "coordinator"]
        named = (f"--profile={each}" for each in [*profiles, "monitoring"])
        return engine.compose(_PROJECT, *named, *arguments, **self.variables)

    def is_healthy(self, engine: Engine, service: str) -> bool:
        name = self.compose(engine, "ps", "--quiet", service).strip()
        return bool(engine.inspect(name)["State"]["Health"]["Status"] == "healthy")

    def run(self, command: str, *arguments: str, check: bool = True) -> str:
        host = on_host(self.hosts.other)
        return run(*host, require_tool(command), *arguments, check=check)

    def grpcurl(self, method: str, *, check: bool = True, **request: Any) -> str:
        own = self.pki / "operator"
        return self.run(
            "grpcurl",
            *("-cacert", f"{own}/ca-cert.pem", "-cert", f"{own}/cert.pem"),
            *("-key", f"{own}/key.pem", "-d", json.dumps({"group": "vm1", **request})),
            f"{SECONDARY}:7400",
            f"blkcolo.v1.CoordinatorService/{method}",
            check=check,
        )

    def is_protected(self) -> bool:
        """False as well while the coordinator does not answer yet."""
        return '"GROUP_STATE_PROTECTED"' in self.grpcurl("GetGroup", check=False)

    def qemu_io(self, side: str, *commands: str) -> str:
        host, port = _SIDES[side]
        credentials = f"id=tls,endpoint=client,dir={self.pki}/nbd"
        disk = f"driver=nbd,host={host},port={port},export=disk0,tls-creds=tls"
        given = (part for command in commands for part in ("-c", command))
        return self.run(
            "qemu-io",
            *("--object", f"tls-creds-x509,{credentials}", *given),
            *("--image-opts", disk),
        )

    def ask_prometheus(self, path: str) -> Any:
        url = f"http://127.0.0.1:9090{path}"
        return json.loads(self.run("curl", "--silent", "--show-error", url))

    def lose_the_first(self) -> None:
        """Power is gone: nothing of it answers any more, and nothing says goodbye."""
        self.hosts.plug(into=False)
        self.compose(self.one, "kill", "primary-host")


@pytest.fixture(scope="module")
def pair(
    engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TwoHosts]:
    with ExitStack() as stack:
        cabled = stack.enter_context(cabled_hosts())
        engines = []
        for host in (cabled.one, cabled.other):
            folder = tmp_path_factory.mktemp("host")
            engines.append(stack.enter_context(running_engine(folder, host)))
        pair = TwoHosts(cabled, engines, tmp_path_factory.mktemp("pki") / "pki")
        pair.make_certificates()
        engine.give(pair.one, images.SERVICES)
        engine.give(pair.other, images.SERVICES, images.PROMETHEUS)
        pair.compose(pair.one, "up", "--detach", "primary-host")
        others = ("secondary-host", "coordinator-host", "prometheus-of-hosts")
        pair.compose(pair.other, "up", "--detach", *others)
        yield pair


def test_pair_on_two_hosts_is_scraped_and_outlives_the_first(pair: TwoHosts) -> None:
    wait_until(pair.is_protected, "protected", 60)
    wait_until_all_is_scraped(pair.ask_prometheus)
    for engine, service in (
        (pair.one, "primary-host"),
        (pair.other, "secondary-host"),
        (pair.other, "coordinator-host"),
    ):
        wait_until(partial(pair.is_healthy, engine, service), f"{service} healthy", 60)
    pair.qemu_io("primary", "write -P 0xaa 0 4M")
    committed = int(json.loads(pair.grpcurl("Checkpoint"))["epoch"])
    pair.lose_the_first()
    answer = json.loads(pair.grpcurl("Failover", force=True))
    assert answer["nbd_uris"] == [f"nbds://{SECONDARY}:10810/disk0"]
    assert int(answer["committed_epoch"]) >= committed
    assert not answer.get("primary_fenced")
    read = pair.qemu_io("secondary", "read -P 0xaa 0 4M", "write -P 0xcc 0 4k")
    assert "Pattern verification failed" not in read
