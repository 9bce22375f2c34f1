"""How a service starts, waits for a signal and stops."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Protocol, TypeVar

import structlog
import uvloop

from blkcolo import logs, memory, readiness
from blkcolo.errors import BlkcoloError

if TYPE_CHECKING:
    from collections.abc import Callable

    from blkcolo.settings import ServiceSettings

_log = structlog.get_logger(__name__)

#: Seconds that a stop may take.
STOP_SECONDS = 10.0

#: Exit codes of `blkcolo primary|secondary|coordinator`.
EXIT_OK, EXIT_CANNOT_START = 0, 2


class Service(Protocol):
    """What runs in a process."""

    async def start(self) -> None:
        """Opens, locks and listens; raises BlkcoloError when it cannot."""
        ...

    async def stop(self) -> None:
        """Stops intake, drains, closes; also after a failed start."""
        ...

    def describe(self) -> list[str]:
        """Where it can be reached, a line each."""
        ...


S = TypeVar("S", bound="ServiceSettings")


def run_service(name: str, settings: S, build: Callable[[S], Service]) -> int:
    """Runs a service until SIGINT or SIGTERM; returns the exit code."""
    logs.configure(name, settings.log.level, settings.log.format)
    memory.keep_large_blocks()
    memory.collect_rarely()
    try:
        service = build(settings)
    except BlkcoloError as error:
        return _cannot_start(name, error)
    return uvloop.run(_run(name, service))


def _cannot_start(name: str, error: BlkcoloError) -> int:
    sys.stderr.write(f"blkcolo {name}: cannot start: {error}\n")
    return EXIT_CANNOT_START


async def _run(name: str, service: Service) -> int:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    _log.info("starting", version=version("blkcolo"), pid=os.getpid())
    try:
        await service.start()
        _log.info("ready", addresses=service.describe())
        readiness.tell_ready()
        await stopped.wait()
    except BlkcoloError as error:
        return _cannot_start(name, error)
    finally:
        _log.info("stopping")
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await service.stop()
        except TimeoutError:
            _log.error("stop took too long", seconds=STOP_SECONDS)
        _log.info("stopped")
    return EXIT_OK
