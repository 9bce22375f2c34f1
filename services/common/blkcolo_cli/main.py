"""blkcolo: services, operations and the one-machine demo behind one command.

Exit codes: 0 done; 1 refused or failed; 2 wrong usage or configuration; 3 the
coordinator cannot be reached; 4 (status) a group is not protected; 5 (verify) the
sides differed; 130 Ctrl-C.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

from cyclopts import App, Group, Parameter
from rich.console import Console

from blkcolo.errors import BlkcoloError, Reason, Unavailable
from blkcolo.process.service import EXIT_CANNOT_START, EXIT_OK, run_service
from blkcolo.process.settings import ServiceSettings, SettingsError, load, show
from blkcolo_cli import change_roles, health, maintain, observe, operate, up

if TYPE_CHECKING:
    from collections.abc import Callable

    from cyclopts import CycloptsError

    from blkcolo.process.service import Service

S = TypeVar("S", bound=ServiceSettings)

EXIT_FAILED, EXIT_UNREACHABLE, EXIT_INTERRUPTED = 1, 3, 130

_SERVICES = Group("Services", sort_key=2)
_OPERATIONS = Group("Operations", sort_key=1)


def _usage(error: CycloptsError) -> str:
    return f"blkcolo: {str(error).rstrip('.')}; see --help"


app = App(
    name="blkcolo",
    version=version("blkcolo"),
    help="Continuous-checkpoint block replication for fault-tolerant VMs.\n\n"
    "Exit codes: 0 done; 1 refused or failed; 2 wrong usage or configuration; "
    "3 the coordinator cannot be reached; 4 (status) a group is not protected; 5 "
    "(verify) the sides differed; 130 Ctrl-C.",
    help_format="plaintext",
    help_formatter="default" if sys.stdout.isatty() else "plain",
    error_formatter=_usage,
    result_action="return_value",
)
app.command(operate.status, group=_OPERATIONS)
app.command(operate.groups, group=_OPERATIONS)
app.command(operate.checkpoint, group=_OPERATIONS)
app.command(operate.checkpoints, group=_OPERATIONS)
app.command(operate.failover, group=_OPERATIONS)
app.command(change_roles.reprotect, group=_OPERATIONS)
app.command(change_roles.switchover, group=_OPERATIONS)
app.command(change_roles.failback, group=_OPERATIONS)
app.command(operate.stop, group=_OPERATIONS)
app.command(operate.pause, group=_OPERATIONS)
app.command(operate.resume, group=_OPERATIONS)
app.command(observe.events, group=_OPERATIONS)
app.command(observe.explain, group=_OPERATIONS)
app.command(maintain.verify, group=_OPERATIONS)
app.command(maintain.grow, group=_OPERATIONS)
app.command(up.up, group=_SERVICES)
app.command(health.health, group=_SERVICES)
app.command(
    "blkcolo_cli.dump.command:dump",
    name="dump",
    help="Write a support bundle without secrets.",
    group=_OPERATIONS,
)
app.command("blkcolo_cli.certs:certs", name="certs", help="Make and show certificates.")

Config = Annotated[Path | None, Parameter(help="TOML file; BLKCOLO_* override it.")]
ShowConfig = Annotated[
    bool, Parameter(negative="", help="Print the effective options and exit.")
]


def _serve(
    name: str,
    settings_class: type[S],
    build: Callable[[S], Service[S]],
    config: Path | None,
    *,
    show_config: bool,
) -> int:
    """Runs one service in this process."""
    if show_config:
        sys.stdout.write(show(load(settings_class, config)) + "\n")
        return EXIT_OK
    return run_service(name, lambda: load(settings_class, config), build)


@app.command(group=_SERVICES)
def primary(*, config: Config = None, show_config: ShowConfig = False) -> int:
    """Run the primary: the VM's disk over NBD, its writes forwarded."""
    from blkcolo_node import node, settings  # noqa: PLC0415 - the others start faster

    options = settings.PrimarySettings
    return _serve("primary", options, node.build, config, show_config=show_config)


@app.command(group=_SERVICES)
def secondary(*, config: Config = None, show_config: ShowConfig = False) -> int:
    """Run the secondary: the second disk and its Disk Buffer."""
    from blkcolo_node import node, settings  # noqa: PLC0415 - the others start faster

    options = settings.SecondarySettings
    return _serve("secondary", options, node.build, config, show_config=show_config)


@app.command(group=_SERVICES)
def coordinator(*, config: Config = None, show_config: ShowConfig = False) -> int:
    """Run the coordinator: decides when to checkpoint and who is who."""
    from blkcolo_coordinator import service, settings  # noqa: PLC0415 - as above

    options = settings.CoordinatorSettings
    return _serve(
        "coordinator", options, service.build, config, show_config=show_config
    )


def main() -> None:
    """The console script."""
    try:
        code = app(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except SettingsError as error:
        _complain(error)
        sys.exit(EXIT_CANNOT_START)
    except BlkcoloError as error:
        _complain(error)
        silent = isinstance(error, Unavailable)  # or it answered, of somebody else
        unreachable = silent and error.reason is Reason.PEER_UNREACHABLE
        sys.exit(EXIT_UNREACHABLE if unreachable else EXIT_FAILED)
    sys.exit(code if isinstance(code, int) else EXIT_OK)


def _complain(error: BlkcoloError) -> None:
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print("blkcolo:", style="bold red", end=" ")
    console.print(str(error), markup=False)
