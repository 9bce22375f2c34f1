"""The command: what goes into a bundle, and in which order."""

from __future__ import annotations

import sys
import time
from collections import deque
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console

from blkcolo.errors import Invalid, Reason
from blkcolo.process.settings import SettingsError, load, show
from blkcolo_cli.dump import host_facts, service_facts, state_inventory
from blkcolo_cli.dump.bundle import Bundle
from blkcolo_cli.where import DEFAULT, Where
from blkcolo_coordinator.settings import CoordinatorSettings
from blkcolo_node.settings import PrimarySettings, SecondarySettings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from blkcolo.addresses import Address
    from blkcolo.rpc.client import Dialer
    from blkcolo_node.settings import NodeSettings

_MODELS: dict[
    str, type[CoordinatorSettings] | type[PrimarySettings] | type[SecondarySettings]
] = {
    "coordinator": CoordinatorSettings,
    "primary": PrimarySettings,
    "secondary": SecondarySettings,
}


@dataclass(frozen=True)
class _Named:
    """A file of a service."""

    service: str
    path: Path


def dump(
    *,
    output: Annotated[
        Path | None,
        Parameter(help="FILE.tar.gz; by default blkcolo-dump-TIME.tar.gz, here."),
    ] = None,
    config: Annotated[
        list[str] | None,
        Parameter(
            negative="",
            help="SERVICE=FILE, as primary=/etc/blkcolo/primary.toml; repeatable.",
        ),
    ] = None,
    log: Annotated[
        list[str] | None,
        Parameter(negative="", help="SERVICE=FILE of a service's log; repeatable."),
    ] = None,
    lines: Annotated[int, Parameter(help="So many lines of each log's end.")] = 2000,
    coordinator: Where = DEFAULT,
) -> None:
    """Write a support bundle: states, metrics, configuration; no disk's content.

    Run it on each host, as a user that may read the services' folders. Private keys
    and certificates are never in it. What could not be had is in its missing.txt.
    """
    configs, logs = _named(config, "--config"), _named(log, "--log")
    name = time.strftime("blkcolo-dump-%Y%m%dT%H%M%SZ", time.gmtime())
    path = output or Path(f"{name}.tar.gz")
    console = Console(highlight=False, soft_wrap=True)
    with console.status("blkcolo dump") as shown:

        def tell(step: str) -> None:
            if console.is_terminal:
                shown.update(step)
            else:
                console.print(step, markup=False)

        bundle = Bundle(name, tell)
        _fill(bundle, configs, logs, lines, coordinator)
        try:
            count = bundle.write(path)
        except OSError as error:
            raise Invalid(
                Reason.INVALID,
                f"--output {path}: {error.strerror}; name a file that can be written",
            ) from error
    console.print(f"{path}: {count} files", markup=False)
    for missing, why in bundle.missing.items():
        console.print(f"missing: {missing}: {why}", markup=False)


def _named(given: Sequence[str] | None, option: str) -> list[_Named]:
    """Reads SERVICE=FILE; raises SettingsError for anything else."""
    named = []
    for each in given or ():
        service, equals, path = each.partition("=")
        if service not in _MODELS or not equals or not path:
            allowed = ", ".join(_MODELS)
            raise SettingsError(
                [f"{option} {each}: give SERVICE=FILE, SERVICE one of {allowed}"]
            )
        named.append(_Named(service, Path(path)))
    return named


def _fill(
    bundle: Bundle,
    configs: Sequence[_Named],
    logs: Sequence[_Named],
    lines: int,
    where: Where,
) -> None:
    bundle.take("command.txt", lambda: " ".join(sys.argv) + "\n")
    bundle.take("versions.json", host_facts.versions)
    settings = _loaded(bundle, configs)
    folders = [each.data_dir for each in settings.values()]
    bundle.take("host.json", partial(host_facts.host, [Path.cwd(), *folders]))
    for service, its in settings.items():
        metrics = f"metrics/{service}.prom"
        bundle.take(metrics, partial(service_facts.scrape, its, its.metrics))
        _take_state(bundle, service, its)
    _take_groups(bundle, settings.get("coordinator"), where)
    for each in logs:
        bundle.take(f"logs/{each.service}.log", partial(_tail, each.path, lines))


def _loaded(
    bundle: Bundle, configs: Sequence[_Named]
) -> dict[str, CoordinatorSettings | NodeSettings]:
    """The configurations that can be used; each goes into the bundle."""
    found: dict[str, CoordinatorSettings | NodeSettings] = {}

    def read(each: _Named) -> str:
        found[each.service] = load(_MODELS[each.service], each.path)
        return show(found[each.service])

    for each in configs:
        bundle.take(f"configuration/{each.service}.json", partial(read, each))
    return found


def _take_state(
    bundle: Bundle, service: str, settings: CoordinatorSettings | NodeSettings
) -> None:
    """The service's folder, its disks, and what it says of itself."""
    state, folder = f"state/{service}", settings.data_dir
    bundle.take(f"{state}/files.txt", partial(state_inventory.files, folder))
    if isinstance(settings, CoordinatorSettings):
        database = folder / "coordinator.sqlite"
        bundle.take(f"{state}/store.json", partial(state_inventory.store, database))
        return
    for group in settings.groups:
        for volume in group.volumes:
            disk = f"{state}/{group.name}/{volume.name}.txt"
            bundle.take(disk, partial(state_inventory.image, volume.path))
        journal = folder / "groups" / group.name / "journal"
        if journal.exists():
            name = f"{state}/{group.name}/journal.json"
            bundle.take(name, partial(state_inventory.journal, journal))
    address = settings.grpc.listen.from_here

    def status() -> str:
        return service_facts.node_status(address, service_facts.dialer_of(settings))

    bundle.take(f"status/{service}.json", status)


def _take_groups(
    bundle: Bundle, configured: CoordinatorSettings | NodeSettings | None, where: Where
) -> None:
    """All groups, as the coordinator sees them: the given one, or the configured."""

    def reached() -> tuple[Address, Dialer]:
        if where == DEFAULT and configured is not None:
            address = configured.grpc.listen.from_here
            return address, service_facts.dialer_of(configured)
        return where.coordinator, where.dialer()

    for name, ask in {
        "groups": service_facts.status_of_groups,
        "explain": service_facts.explained,
        "checkpoints": service_facts.checkpoints,
        "events": service_facts.events,
    }.items():
        bundle.take(f"status/{name}.json", partial(_ask, ask, reached))


def _ask(
    ask: Callable[[Address, Dialer], str], reached: Callable[[], tuple[Address, Dialer]]
) -> str:
    return ask(*reached())


def _tail(path: Path, lines: int) -> str:
    with path.open(errors="replace") as file:
        return "".join(deque(file, maxlen=max(0, lines)))
