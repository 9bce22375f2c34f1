"""A container engine for tests: the machine's own, or one that is started here."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.cabled_hosts import on_host
from tests.stack import wait_until
from tests.tools import missing, require_tool, run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

COMPOSE = Path(__file__).parents[2] / "deploy" / "compose.yaml"


class Engine:
    """What answers `docker` and `docker-compose`.

    Attributes:
        environment: what these need to find it.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment

    def answers(self) -> bool:
        done = subprocess.run(
            ["docker", "info"], env=self.environment, capture_output=True, check=False
        )
        return done.returncode == 0

    def docker(self, *arguments: str, **variables: str) -> str:
        return self._run("docker", *arguments, **variables)

    def compose(self, project: str, *arguments: str, **variables: str) -> str:
        """Runs docker-compose with deploy/compose.yaml and these variables."""
        named = ("--project-name", project, "--file", str(COMPOSE))
        return self._run("docker-compose", *named, *arguments, **variables)

    def remove_all(self) -> None:
        """Removes all containers, running or not."""
        left = self.docker("ps", "--all", "--quiet").split()
        if left:
            self.docker("rm", "--force", "--volumes", *left)

    def inspect(self, name: str) -> Any:
        return json.loads(self.docker("inspect", name))[0]

    def _run(self, *command: str, **variables: str) -> str:
        done = subprocess.run(
            [require_tool(command[0]), *command[1:]],
            env={**self.environment, **variables},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def give(self, other: Engine, *images: str) -> None:
        """Copies images to another engine."""
        with subprocess.Popen(
            ["docker", "save", *images], env=self.environment, stdout=subprocess.PIPE
        ) as saved:
            subprocess.run(
                ["docker", "load", "--quiet"],
                env=other.environment,
                stdin=saved.stdout,
                check=True,
                capture_output=True,
                timeout=300,
            )
        assert saved.returncode == 0


@contextlib.contextmanager
def running_engine(folder: Path, host: str | None = None) -> Iterator[Engine]:
    """An engine; one is started for the tests alone where none answers.

    Args:
        folder: where a started one keeps everything.
        host: start one in any case, in this host's network.
    """
    require_tool("docker")
    require_tool("docker-compose")
    own = Engine(dict(os.environ))
    if host is None and own.answers():
        yield own
        return
    if os.geteuid() != 0:
        missing("no container engine answers, and only root can start one")
    engine = Engine({**os.environ, "DOCKER_HOST": f"unix://{folder}/docker.sock"})
    with contextlib.ExitStack() as stack:
        options: tuple[str, ...] = ()
        if host is None:
            options = ("--bridge", stack.enter_context(_bridge()))
        data = stack.enter_context(_data(folder))
        stack.enter_context(_daemon(folder, data, host, options))
        wait_until(engine.answers, "dockerd answers", 60)
        stack.callback(engine.remove_all)
        yield engine


@contextlib.contextmanager
def _daemon(
    folder: Path, data: Path, host: str | None, options: Sequence[str]
) -> Iterator[None]:
    with (folder / "dockerd.log").open("wb") as log:
        daemon = subprocess.Popen(
            [
                *(on_host(host) if host is not None else ()),
                require_tool("dockerd"),
                *("--host", f"unix://{folder}/docker.sock"),
                *("--data-root", str(data)),
                *("--exec-root", str(folder / "exec")),
                *("--pidfile", str(folder / "docker.pid"), *options),
            ],
            stdout=log,
            stderr=log,
        )
        try:
            yield
        finally:
            daemon.terminate()
            daemon.wait(60)


@contextlib.contextmanager
def _bridge() -> Iterator[str]:
    """A network of our own: docker0 would be that of every engine on this machine."""
    name = f"bd{os.getpid()}"
    address = f"10.214.{os.getpid() % 250}.1/24"
    run("ip", "link", "add", name, "type", "bridge")
    try:
        run("ip", "address", "add", address, "dev", name)
        yield name
    finally:
        run("ip", "link", "delete", name)


@contextlib.contextmanager
def _data(folder: Path) -> Iterator[Path]:
    """In memory: thousands of small files are unpacked here, and then thrown away."""
    data = folder / "data"
    data.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=6G", "tmpfs", str(data))
    try:
        yield data
    finally:
        _unmount_all_below(folder)


def _unmount_all_below(folder: Path) -> None:
    """And what dockerd leaves: the network that containers shared with the host."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        target = line.split()[1]
        if target.startswith(f"{folder}/"):
            subprocess.run(["umount", "--lazy", target], check=False)
