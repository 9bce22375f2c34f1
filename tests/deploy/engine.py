"""A container engine for tests: the machine's own, or one that is started here."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from tests.stack import wait_until
from tests.tools import missing, require_tool, run

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What the image of the services is built on, made by `base_image`.
BASE_IMAGE = "blkcolo-test-base:bookworm"
_CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
_BASE_PACKAGES = "ca-certificates,python3,python3-venv,tini"


@contextlib.contextmanager
def running_engine(folder: Path) -> Iterator[dict[str, str]]:
    """Yields the environment that `docker` and `docker-compose` need.

    Starts dockerd for this test alone where none answers.
    """
    require_tool("docker")
    require_tool("docker-compose")
    if _answers(dict(os.environ)):
        yield dict(os.environ)
        return
    if os.geteuid() != 0:
        missing("no container engine answers, and only root can start one")
    socket = f"unix://{folder}/docker.sock"
    environment = {**os.environ, "DOCKER_HOST": socket}
    with (folder / "dockerd.log").open("wb") as log:
        daemon = subprocess.Popen(
            [
                require_tool("dockerd"),
                *("--host", socket),
                *("--data-root", str(folder / "data")),
                *("--exec-root", str(folder / "exec")),
                *("--pidfile", str(folder / "docker.pid")),
            ],
            stdout=log,
            stderr=log,
        )
    try:
        wait_until(lambda: _answers(environment), "dockerd answers", 60)
        yield environment
    finally:
        daemon.terminate()
        daemon.wait(60)
        subprocess.run(["ip", "link", "delete", "docker0"], check=False)


def _answers(environment: dict[str, str]) -> bool:
    done = subprocess.run(
        ["docker", "info"], env=environment, capture_output=True, check=False
    )
    return done.returncode == 0


def base_image(environment: dict[str, str], folder: Path) -> None:
    """Makes BASE_IMAGE from Debian packages: no image can be pulled everywhere.

    It trusts the certificate authorities that this machine trusts.
    """
    archive = _base_archive(folder)
    subprocess.run(
        [
            *("docker", "import", "--change", f"ENV PIP_CERT={_CA_BUNDLE}"),
            *(str(archive), BASE_IMAGE),
        ],
        env=environment,
        check=True,
        capture_output=True,
    )


def _base_archive(folder: Path) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    archive = cache / "blkcolo" / "base-bookworm.tar"
    if archive.exists():
        return archive
    root = folder / "base"
    run(
        "debootstrap",
        "--variant=minbase",
        f"--include={_BASE_PACKAGES}",
        "bookworm",
        str(root),
        timeout=300,
    )
    shutil.copyfile(_CA_BUNDLE, root / _CA_BUNDLE.relative_to("/"))
    archive.parent.mkdir(parents=True, exist_ok=True)
    spare = archive.with_suffix(".new")
    excluded = [f"--exclude=./{part}" for part in ("var/cache", "usr/share/doc")]
    run("tar", "-C", str(root), *excluded, "-cf", str(spare), ".", timeout=120)
    spare.replace(archive)
    return archive
