"""deploy/compose.yaml on a real container engine, with real clients."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.deploy.engine import BASE_IMAGE, base_image, running_engine
from tests.stack import free_ports, wait_until
from tests.tools import require_tool, run

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

_COMPOSE = Path(__file__).parents[2] / "deploy" / "compose.yaml"
_PORTS = [
    f"{service}_{protocol}_PORT"
    for service in ("PRIMARY", "SECONDARY", "COORDINATOR")
    for protocol in ("GRPC", "METRICS", "NBD")
]
_SERVICES = ("secondary", "primary", "coordinator")


class Deployment:
    """The three services of profile `all`, as containers."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.ports = dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))
        self._environment = {
            **environment,
            **{name: str(port) for name, port in self.ports.items()},
            "BASE_IMAGE": BASE_IMAGE,
            "BLKCOLO_IMAGE": "blkcolo:under-test",
        }

    def compose(self, *arguments: str) -> str:
        return self._run(
            *("docker-compose", "--project-name", "blkcolo-test"),
            *("--file", str(_COMPOSE), "--profile", "all", *arguments),
        )

    def docker(self, *arguments: str) -> str:
        return self._run("docker", *arguments)

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            [require_tool(command[0]), *command[1:]],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def inspect(self, service: str) -> Any:
        name = self.compose("ps", "-q", service).strip()
        return json.loads(self.docker("inspect", name))[0]

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


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("engine")
    with running_engine(folder) as environment:
        base_image(environment, folder)
        deployment = Deployment(environment)
        deployment.compose("build", "primary")
        deployment.compose("up", "--detach", *_SERVICES)
        try:
            for service in _SERVICES:
                deployment.wait_healthy(service)
            yield deployment
        finally:
            deployment.compose("down", "--volumes")


def test_every_profile_is_accepted() -> None:
    for profile in ("all", "primary", "secondary", "coordinator", "monitoring"):
        run("docker-compose", "-f", str(_COMPOSE), "--profile", profile, "config", "-q")


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
    for service in ("secondary", "coordinator"):
        found = deployment.inspect(service)
        assert found["Config"]["User"] == "10001:10001"
        assert found["HostConfig"]["ReadonlyRootfs"]
        assert found["HostConfig"]["CapDrop"] == ["ALL"]
        assert found["Path"] == "tini"
