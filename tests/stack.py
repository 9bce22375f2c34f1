"""The three services as real processes on loopback, for tests."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
import pytest

from blkcolo.v1 import (
    coordinator_pb2,
    coordinator_pb2_grpc,
    primary_pb2,
    primary_pb2_grpc,
    secondary_pb2,
    secondary_pb2_grpc,
    types_pb2,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.lab import Lab

S = TypeVar("S", bound="Stack")

MIB = 1 << 20
#: No multiple of anything.
ODD_SIZE = MIB + 4096 + 512
NAMES = ("secondary", "primary", "coordinator")

PROTECTED = types_pb2.GROUP_STATE_PROTECTED
UNPROTECTED = types_pb2.GROUP_STATE_UNPROTECTED


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def wait_until(condition: Callable[[], object], what: str, seconds: float = 20) -> None:
    """Polls a condition; fails with `what` when it does not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


class Stack:
    """Configurations, processes and clients of one pair and its coordinator."""

    def __init__(
        self,
        folder: Path,
        *,
        sizes: tuple[int, ...] = (ODD_SIZE,),
        secondary_vm: bool = False,
        max_interval: float = 0.0,
        primary_options: str = "",
        secondary_options: str = "",
        policy_options: str = "",
        coordinator_options: str = "",
        lab: Lab | None = None,
    ) -> None:
        self.folder = folder
        self.lab = lab
        self.sizes = sizes
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        ports = free_ports(8)
        self.grpc = dict(zip(NAMES, ports[:3], strict=True))
        self.nbd = dict(zip(NAMES, ports[3:5], strict=False))
        self.metrics = dict(zip(NAMES, ports[5:], strict=True))
        #: Variables that a service gets besides ours.
        self.environment: dict[str, dict[str, str]] = {}
        self._channels: dict[str, grpc.Channel] = {}
        for name in ("primary", "secondary"):
            extra = primary_options if name == "primary" else secondary_options
            if name == "secondary" and secondary_vm:
                extra += "secondary_vm = true\n"
            self._write(
                name,
                f'nbd.listen = "127.0.0.1:{self.nbd[name]}"\n[[groups]]\n'
                f'name = "vm1"\n{extra}' + self._volumes(name),
            )
        self._write(
            "coordinator",
            f'{coordinator_options}[[groups]]\nname = "vm1"\n'
            f'primary = "{self.address("primary")}"\n'
            f'secondary = "{self.address("secondary")}"\n[groups.policy]\n'
            f"min_interval_seconds = 0\nmax_interval_seconds = {max_interval}\n"
            + policy_options,
        )

    def _volumes(self, name: str) -> str:
        return "".join(
            f'[[groups.volumes]]\nname = "disk{number}"\n'
            f'path = "{self.image(name, number)}"\nsize = {size}\n'
            for number, size in enumerate(self.sizes)
        )

    def _write(self, name: str, text: str) -> None:
        head = (
            f'data_dir = "{self.folder / name}"\n'
            f'grpc.listen = "{self.address(name)}"\n'
            f'metrics.listen = "127.0.0.1:{self.metrics[name]}"\n'
        )
        if self.lab is not None:
            head += self.lab.options("coordinator" if name == "coordinator" else "node")
        self.config(name).write_text(head + text)

    # Where things are.

    def config(self, name: str) -> Path:
        return self.folder / f"{name}.toml"

    def image(self, name: str, number: int = 0) -> Path:
        return self.folder / f"{name}-disk{number}.img"

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def address(self, name: str) -> str:
        return f"127.0.0.1:{self.grpc[name]}"

    def uri(self, name: str, number: int = 0) -> str:
        where = f"127.0.0.1:{self.nbd[name]}/disk{number}"
        if self.lab is None:
            return f"nbd://{where}"
        return f"nbds://{where}?tls-certificates={self.lab.client_folder('nbd')}"

    # Processes.

    def start(self, *names: str, seconds: float = 60) -> None:
        for name in names or NAMES:
            with (self.folder / f"{name}.log").open("ab") as log:
                self.processes[name] = subprocess.Popen(
                    [
                        sys.executable,
                        *("-m", "blkcolo_cli", name),
                        *("--config", str(self.config(name))),
                    ],
                    stdout=log,
                    stderr=log,
                    env={**os.environ, **self.environment.get(name, {})},
                )
        for name in names or NAMES:
            self._wait_ready(name, seconds)

    def _wait_ready(self, name: str, seconds: float) -> None:
        process = self.processes[name]

        def ready() -> bool:
            assert process.poll() is None, f"{name} ended:\n{self.log(name)}"
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.grpc[name])) == 0

        try:
            wait_until(ready, f"{name} listens", seconds)
        except AssertionError:
            sys.stderr.write(f"{name} so far:\n{self.log(name)}\n")
            raise

    def stop(self, *names: str) -> None:
        for name in names or ("coordinator", "primary", "secondary"):
            process = self.processes.pop(name, None)
            if process is not None:
                process.terminate()
                assert process.wait(25) == 0, self.log(name)
                self._forget_channel(name)

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        self._forget_channel(name)

    def close(self) -> None:
        for name in NAMES:
            self._forget_channel(name)
        for name in reversed(NAMES):
            process = self.processes.pop(name, None)
            if process is None:
                continue
            process.terminate()
            try:
                process.wait(25)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
                pytest.fail(f"{name} did not stop:\n{self.log(name)}")

    # Clients.

    def _channel(self, name: str) -> grpc.Channel:
        """One channel a process: that of a dead one would wait before it retries."""
        if name not in self._channels:
            self._channels[name] = (
                grpc.insecure_channel(self.address(name))
                if self.lab is None
                else self.lab.channel(self.address(name), "operator")
            )
        return self._channels[name]

    def _forget_channel(self, name: str) -> None:
        channel = self._channels.pop(name, None)
        if channel is not None:
            channel.close()

    @property
    def coordinator(self) -> Any:
        return coordinator_pb2_grpc.CoordinatorServiceStub(self._channel("coordinator"))

    @property
    def primary(self) -> Any:
        return primary_pb2_grpc.PrimaryServiceStub(self._channel("primary"))

    @property
    def secondary(self) -> Any:
        return secondary_pb2_grpc.SecondaryServiceStub(self._channel("secondary"))

    def group(self) -> coordinator_pb2.Group:
        request = coordinator_pb2.GetGroupRequest(group="vm1")
        group: coordinator_pb2.Group = self.coordinator.GetGroup(
            request, timeout=5
        ).group
        return group

    def primary_status(self) -> primary_pb2.ForwardStatus:
        request = primary_pb2.PrimaryServiceGetStatusRequest(group="vm1")
        status: primary_pb2.ForwardStatus = self.primary.GetStatus(
            request, timeout=5
        ).groups[0]
        return status

    def secondary_status(self) -> secondary_pb2.ReplicaStatus:
        request = secondary_pb2.SecondaryServiceGetStatusRequest(group="vm1")
        status: secondary_pb2.ReplicaStatus = self.secondary.GetStatus(
            request, timeout=5
        ).groups[0]
        return status

    def scrape(self, name: str) -> str:
        address = f"http://127.0.0.1:{self.metrics[name]}/metrics"
        with urllib.request.urlopen(address, timeout=5) as answer:
            return str(answer.read().decode())

    def wait_state(self, state: int) -> None:
        wait_until(lambda: self.group().state == state, f"state {state}")

    @staticmethod
    def fence_request(generation: int) -> primary_pb2.FenceRequest:
        return primary_pb2.FenceRequest(group="vm1", generation=generation)

    def checkpoint(self) -> int:
        """Takes one; the primary knows of it, too, when this returns."""
        epoch = self.take_checkpoint()
        wait_until(
            lambda: self.group().primary.committed_epoch >= epoch, "the primary knows"
        )
        return epoch

    def take_checkpoint(self) -> int:
        """Takes one; returns with its answer, which comes when it is committed."""
        request = coordinator_pb2.CheckpointRequest(group="vm1")
        return int(self.coordinator.Checkpoint(request, timeout=20).epoch)

    def pause(self) -> None:
        request = coordinator_pb2.PauseReplicationRequest(group="vm1")
        self.coordinator.PauseReplication(request, timeout=5)

    def resume(self, *, discard_secondary: bool = False) -> None:
        request = coordinator_pb2.ResumeReplicationRequest(
            group="vm1", discard_secondary=discard_secondary
        )
        self.coordinator.ResumeReplication(request, timeout=5)

    def failover(
        self, *, force: bool = False, epoch: int | None = None
    ) -> coordinator_pb2.FailoverResponse:
        request = coordinator_pb2.FailoverRequest(group="vm1", force=force, epoch=epoch)
        answer: coordinator_pb2.FailoverResponse = self.coordinator.Failover(
            request, timeout=30
        )
        return answer

    def wait_flushed(self) -> None:
        state = types_pb2.REPLICA_STATE_FAILED_OVER
        wait_until(lambda: self.secondary_status().state == state, "flushed", 60)


def running(folder: Path, **options: Any) -> AbstractContextManager[Stack]:
    """A protected stack."""
    return started(Stack(folder, **options))


@contextlib.contextmanager
def started(stack: S) -> Iterator[S]:
    """Starts a stack and waits for it; says how to look at it when the test fails."""
    try:
        stack.start()
        stack.wait_state(PROTECTED)
        yield stack
    except BaseException:
        if test := os.environ.get("PYTEST_CURRENT_TEST", "").split(" ")[0]:
            sys.stderr.write(f"rerun alone: pytest '{test}'; logs in {stack.folder}\n")
        raise
    finally:
        stack.close()
