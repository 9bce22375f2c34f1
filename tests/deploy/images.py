"""The images of the tests, made from Debian packages: none can be pulled everywhere."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from tests.tools import require_tool, run

if TYPE_CHECKING:
    from tests.deploy.engine import Engine

#: What the image of the services is built on.
BASE = "blkcolo-test-base:bookworm"
#: The three services, as deploy/Dockerfile makes them.
SERVICES = "blkcolo:under-test"
PROMETHEUS = "blkcolo-test-prometheus:bookworm"
#: A machine with systemd, on which the services are installed.
MACHINE = "blkcolo-test-machine:bookworm"

_HERE = Path(__file__).parent
_CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
_BASE_PACKAGES = "ca-certificates,python3,python3-venv,tini"


def make_images(engine: Engine, folder: Path) -> None:
    """Makes all four."""
    trust = f"ENV PIP_CERT={_CA_BUNDLE}"  # what this machine trusts
    engine.docker("import", "--change", trust, str(_base_archive(folder)), BASE)
    engine.compose("build", "build", "primary", BASE_IMAGE=BASE, BLKCOLO_IMAGE=SERVICES)
    context = folder / "context"
    shutil.copytree(_HERE.parents[1] / "deploy", context)
    shutil.copy(require_tool("prometheus"), context / "prometheus-program")
    for target, tag in (("prometheus", PROMETHEUS), ("machine", MACHINE)):
        engine.docker(
            *("build", "--quiet", "--target", target, "--tag", tag),
            *("--build-arg", f"BASE={BASE}", "--build-arg", f"SERVICES={SERVICES}"),
            *("--file", str(_HERE / "Dockerfile"), str(context)),
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
