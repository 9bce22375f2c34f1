"""`blkcolo up`: the three services on this machine, for trying out and for tests."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - the command line reads it
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console

from blkcolo.addresses import Address
from blkcolo.errors import BlkcoloError, Reason, Refused, Unavailable
from blkcolo.process.readiness import ReadySocket
from blkcolo.process.service import STOP_SECONDS
from blkcolo.process.settings import parse_size
from blkcolo.storage.data_directory import DataDirectory
from blkcolo.tasks import until_first
from blkcolo_cli.coordinator_client import Coordinator, connect
from blkcolo_cli.operate import show_live

if TYPE_CHECKING:
    from blkcolo.v1 import coordinator_pb2 as pb

_GROUP = "vm1"
_READY_SECONDS = 30.0
_ASK_SECONDS = 1.0
#: In the order of starting; stopped in the order of `_STOP_ORDER`.
_SERVICES = ("secondary", "primary", "coordinator")
_STOP_ORDER = ("coordinator", "primary", "secondary")
_MAX_OFFSET = 65535 - 10810
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Plan:
    """What `up` runs, and where."""

    data: Path
    size: int
    volumes: int
    secondary_vm: bool
    port_offset: int

    def address(self, port: int) -> Address:
        """A loopback address."""
        return Address("127.0.0.1", port + self.port_offset)

    @property
    def grpc(self) -> dict[str, Address]:
        """The gRPC addresses."""
        ports = {"coordinator": 7400, "primary": 7401, "secondary": 7402}
        return {name: self.address(port) for name, port in ports.items()}

    def config(self, name: str) -> str:
        """The TOML of one service."""
        metrics = {"coordinator": 9400, "primary": 9401, "secondary": 9402}[name]
        lines = [
            f"data_dir = {_quote(self.data / name)}",
            f'grpc.listen = "{self.grpc[name]}"',
            f'metrics.listen = "{self.address(metrics)}"',
        ]
        if name == "coordinator":
            lines += [
                "[[groups]]",
                f'name = "{_GROUP}"',
                f'primary = "{self.grpc["primary"]}"',
                f'secondary = "{self.grpc["secondary"]}"',
            ]
            return "\n".join(lines) + "\n"
        nbd = {"primary": 10809, "secondary": 10810}[name]
        lines += [
            f'nbd.listen = "{self.address(nbd)}"',
            "[[groups]]",
            f'name = "{_GROUP}"',
        ]
        if name == "secondary" and self.secondary_vm:
            lines.append("secondary_vm = true")
        if name == "primary" and self.secondary_vm:
            lines.append("as_secondary.secondary_vm = true")
        for number in range(self.volumes):
            lines += [
                "[[groups.volumes]]",
                f'name = "disk{number}"',
                f"path = {_quote(self.data / name / f'disk{number}.img')}",
                f"size = {self.size}",
            ]
        return "\n".join(lines) + "\n"


def _quote(path: Path) -> str:
    return json.dumps(str(path))


def up(
    *,
    data: Annotated[Path, Parameter(help="Where everything is kept.")],
    size: Annotated[
        int,
        Parameter(
            converter=lambda _, tokens: parse_size(tokens[0].value),
            validator=Number(gte=1),
            show_default=lambda _: "1G",
            help="Size of each volume, as 1G.",
        ),
    ] = 1 << 30,
    volumes: Annotated[
        int, Parameter(validator=Number(gte=1, lte=64), help="Number of volumes.")
    ] = 1,
    secondary_vm: Annotated[
        bool, Parameter(negative="", help="A Secondary VM writes to its view (COLO).")
    ] = False,
    port_offset: Annotated[
        int,
        Parameter(
            validator=Number(gte=0, lte=_MAX_OFFSET),
            help="Added to all default ports.",
        ),
    ] = 0,
) -> int:
    """Run primary, secondary and coordinator here until Ctrl-C.

    Stopped and started again on the same data it goes on where it was.
    """
    plan = Plan(data.absolute(), size, volumes, secondary_vm, port_offset)
    directory = DataDirectory(plan.data)
    try:
        return asyncio.run(_Up(plan).run())
    finally:
        directory.close()


class _Up:
    """The three processes."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._console = Console(highlight=False, soft_wrap=True)

    async def run(self) -> int:
        self._write_configs()
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopped.set)
        try:
            await until_first(
                asyncio.create_task(stopped.wait(), name="signal"),
                asyncio.create_task(self._serve(), name="serve"),
            )
        finally:
            await self._stop_all()
        self._console.print("stopped")
        return 0

    def _write_configs(self) -> None:
        """Writes the configurations; refuses to change the volumes of old data."""
        plan = self._plan
        shape = {"size": plan.size, "volumes": plan.volumes}
        (plan.data / "logs").mkdir(parents=True, exist_ok=True)
        marker = plan.data / "up.json"
        if marker.exists() and (old := json.loads(marker.read_text())) != shape:
            raise Refused(
                Reason.VOLUME_MISMATCH,
                f"{plan.data} holds {old['volumes']} volumes of {old['size']} bytes;"
                " give the same --size and --volumes, or another --data",
            )
        free = shutil.disk_usage(plan.data).free
        if free < 64 << 20:
            raise Refused(
                Reason.DISK_FULL, f"{plan.data} has {free} bytes free; free some space"
            )
        marker.write_text(json.dumps(shape))
        for name in _SERVICES:
            (plan.data / f"{name}.toml").write_text(plan.config(name))

    async def _serve(self) -> None:
        for name in _SERVICES:
            await self._start(name)
        deaths = [asyncio.create_task(self._died(name)) for name in _SERVICES]
        shows = asyncio.create_task(self._show())
        try:
            done, _ = await asyncio.wait(
                [*deaths, shows], return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                task.result()
        finally:
            for task in (*deaths, shows):
                task.cancel()
            await asyncio.wait([*deaths, shows])

    async def _start(self, name: str) -> None:
        config = self._plan.data / f"{name}.toml"
        ready_socket = ReadySocket()
        with self._log(name).open("ab") as log:
            self._processes[name] = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "blkcolo_cli", name, "--config", str(config)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "NOTIFY_SOCKET": ready_socket.name},
                start_new_session=True,  # Ctrl-C is ours to pass on, in order
                preexec_fn=_die_with_parent,
            )
        ready = asyncio.create_task(_ready(ready_socket))
        death = asyncio.create_task(self._died(name))
        try:
            if not await until_first(ready, death, timeout=_READY_SECONDS):
                raise Unavailable(
                    Reason.DEADLINE, f"{name} is not ready; see {self._log(name)}"
                )
        finally:
            ready_socket.close()

    def _log(self, name: str) -> Path:
        return self._plan.data / "logs" / f"{name}.log"

    async def _died(self, name: str) -> None:
        code = await self._processes[name].wait()
        tail = self._log(name).read_text(errors="replace").splitlines()[-5:]
        # What is said to people is no JSON, and comes last.
        said = [line for line in tail if not line.startswith("{")] or tail
        raise Unavailable(
            Reason.INTERNAL,
            f"{name} ended with code {code}; the end of {self._log(name)}:\n"
            + "\n".join(said),
        )

    async def _show(self) -> None:
        """Says where everything is, then shows the status until cancelled."""
        async with connect(self._plan.grpc["coordinator"]) as coordinator:
            group = await self._answering(coordinator)
            for uri in group.primary.nbd_uris:
                self._console.print(f"primary NBD      {uri}", markup=False)
            for uri in group.secondary.nbd_uris:
                self._console.print(f"secondary NBD    {uri}", markup=False)
            for name, address in self._plan.grpc.items():
                self._console.print(f"{name + ' gRPC':16} {address}", markup=False)
            self._console.print("ready; Ctrl-C stops everything")
            sys.stdout.flush()
            await show_live(coordinator, None)

    async def _answering(self, coordinator: Coordinator) -> pb.Group:
        """The group, as soon as the coordinator has heard of both sides."""
        while True:
            found = {each.spec.name: each for each in await coordinator.list_groups()}
            group = found[_GROUP]
            if group.HasField("primary") and group.HasField("secondary"):
                return group
            await asyncio.sleep(0.1)  # until it has asked them; they are ready

    async def _reversed(self) -> bool:
        """True if the roles are swapped; where nobody knows, the order is no matter."""
        try:
            async with connect(self._plan.grpc["coordinator"]) as coordinator:
                async with asyncio.timeout(_ASK_SECONDS):
                    groups = await coordinator.list_groups()
        except (BlkcoloError, TimeoutError):
            return False
        return any(group.reversed for group in groups)

    async def _stop_all(self) -> None:
        """The coordinator first, then the primary, which drains into the secondary."""
        first, *nodes = _STOP_ORDER
        if await self._reversed():
            nodes.reverse()
        for name in (first, *nodes):
            process = self._processes.get(name)
            if process is None or process.returncode is not None:
                continue
            process.terminate()
            try:
                async with asyncio.timeout(STOP_SECONDS + 2):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


async def _ready(said: ReadySocket) -> None:
    """Returns when the process behind the socket serves."""
    loop, seen = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(said, lambda: seen.set() if said.ready() else None)
    try:
        await seen.wait()
    finally:
        loop.remove_reader(said)


def _die_with_parent() -> None:
    """Runs in the child before exec: it must not outlive `up`, however that dies."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() == 1:
        os._exit(1)
