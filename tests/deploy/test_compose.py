"""deploy/compose.yaml, profile `all`, on a real container engine, with real clients."""

from __future__ import annotations

import json
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from tests.deploy import images
from tests.deploy.engine import COMPOSE
from tests.deploy.prometheus_answers import wait_until_all_is_scraped
from tests.stack import free_ports, wait_until
from tests.tools import run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.deploy.engine import Engine

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

_SERVICES = ("secondary", "primary", "coordinator")
_PORTS = [
    "PROMETHEUS_PORT",
    *(
        f"{service.upper()}_{protocol}_PORT"
        for service in _SERVICES
        for protocol in ("GRPC", "METRICS", "NBD")
    ),
]


class Deployment:
    """The three services and Prometheus, as containers."""

    def __init__(self, engine: Engine) -> None:
        self.ports = dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))
        self._engine = engine
        self._variables = {
            **{name: str(port) for name, port in self.ports.items()},
            "BLKCOLO_IMAGE": images.SERVICES,
            "PROMETHEUS_IMAGE": images.PROMETHEUS,
        }

    def compose(self, *arguments: str) -> str:
        return self._engine.compose(
            "blkcolo-test", "--profile", "all", *arguments, **self._variables
        )

    def inspect(self, service: str) -> Any:
        return self._engine.inspect(self.compose("ps", "-q", service).strip())

    def wait_healthy(self, service: str) -> None:
        def healthy() -> bool:
            health = self.inspect(service)["State"]["Health"]
            return bool(health["Status"] == "healthy")

        wait_until(healthy, f"{service} is healthy", 90)

    def nbd(self, service: str) -> str:
        return f"nbd://127.0.0.1:{self.ports[f'{service}_NBD_PORT']}/disk0"

    def call(self, method: str, request: dict[str, Any]) -> Any:
        address = f"127.0.0.1:{self.ports['COORDINATOR_GRPC_PORT']}"
        return json.loads(
            run(
                *("grpcurl", "-plaintext", "-d", json.dumps(request), address),
                f"blkcolo.v1.CoordinatorService/{method}",
            )
        )

    def group(self) -> Any:
        return self.call("GetGroup", {"group": "vm1"})["group"]

    def ask_prometheus(self, path: str) -> Any:
        url = f"http://127.0.0.1:{self.ports['PROMETHEUS_PORT']}{path}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.load(answer)


@pytest.fixture(scope="module")
def deployment(engine: Engine) -> Iterator[Deployment]:
    deployment = Deployment(engine)
    deployment.compose("up", "--detach", *_SERVICES, "prometheus")
    try:
        for service in _SERVICES:
            deployment.wait_healthy(service)
        yield deployment
    finally:
        deployment.compose("down", "--volumes")


def test_every_profile_is_accepted() -> None:
    for profile in ("all", "primary", "secondary", "coordinator", "monitoring"):
        run("docker-compose", "-f", str(COMPOSE), "--profile", profile, "config", "-q")


def test_prometheus_scrapes_all_services_and_evaluates_the_rules(
    deployment: Deployment,
) -> None:
    wait_until_all_is_scraped(deployment.ask_prometheus)
    # No certificates: the engine would make that folder, and `certs init` refuse it.
    mounts = deployment.inspect("prometheus")["Mounts"]
    assert {each["Destination"] for each in mounts} == {
        "/prometheus",
        "/etc/prometheus",
    }


def test_a_pair_in_containers_replicates_and_fails_over(
    deployment: Deployment,
) -> None:
    wait_until(
        lambda: deployment.group()["state"] == "GROUP_STATE_PROTECTED", "protected", 60
    )
    run("qemu-io", "-f", "raw", "-c", "write -P 0xaa 0 4M", deployment.nbd("PRIMARY"))
    committed = int(deployment.call("Checkpoint", {"group": "vm1"})["epoch"])
    group = deployment.group()
    assert int(group["committed_epoch"]) >= committed
    assert group["primary"]["nbd_uris"] == [deployment.nbd("PRIMARY")]
    deployment.compose("kill", "--signal", "KILL", "primary")
    deployment.call("Failover", {"group": "vm1", "force": True})
    run(
        *("qemu-io", "-f", "raw", "-c", "read -P 0xaa 0 4M"),
        *("-c", "write -P 0xcc 0 4k", deployment.nbd("SECONDARY")),
    )
    write = ("qemu-io", "-f", "raw", "-c", "write 0 4k", deployment.nbd("PRIMARY"))
    wait_until(
        lambda: "Operation not permitted" in run(*write, check=False),
        "the old primary, started again by the engine, refuses its VM",
        60,
    )


def test_the_containers_run_with_few_rights(deployment: Deployment) -> None:
    assert deployment.inspect("prometheus")["HostConfig"]["ReadonlyRootfs"]
    for service in ("secondary", "coordinator"):
        found = deployment.inspect(service)
        assert found["Config"]["User"] == "10001:10001"
        assert found["HostConfig"]["ReadonlyRootfs"]
        assert found["HostConfig"]["CapDrop"] == ["ALL"]
        assert found["Path"] == "tini"
