"""How a service starts, reloads, stops on a signal, and what its exit code says.

SIGHUP reads the configuration again. SIGTERM and SIGINT stop within `STOP_SECONDS`; a
second one ends the process at once, which loses nothing that was answered: it is as if
it had been killed. So does the first one while the service starts: reading a large Disk
Buffer back takes seconds, in which the event loop does not run.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import structlog
import uvloop

from blkcolo.errors import BlkcoloError, DeadlineMissed
from blkcolo.process import logs, memory, readiness
from blkcolo.process.configuration_changes import InForce
from blkcolo.process.settings import ServiceSettings
from blkcolo.tasks import until_first

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

_log = structlog.get_logger(__name__)

#: Seconds that a stop may take; what supervises a service must wait longer.
STOP_SECONDS = 15.0

#: Exit codes of `blkcolo primary|secondary|coordinator`. UNFINISHED: stopped before the
#: secondary had everything, or past the deadline, or at once by a second signal.
EXIT_OK, EXIT_CANNOT_START, EXIT_UNFINISHED = 0, 2, 6

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_LOG_KEYS = frozenset({"log.level", "log.format"})

S = TypeVar("S", bound=ServiceSettings)
T = TypeVar("T", bound=ServiceSettings, contravariant=True)


class Service(Protocol[T]):
    """What runs in a process."""

    async def start(self) -> None:
        """Opens, locks and listens; raises BlkcoloError when it cannot."""
        ...

    async def reload(self, settings: T, changed: frozenset[str]) -> frozenset[str]:
        """Takes over what can change in a running service.

        Args:
            settings: the new options.
            changed: the keys that differ from those in force.

        Returns:
            Those that are in force now; the others need a restart.

        Raises:
            BlkcoloError: one of them could not be taken over.
        """
        ...

    async def stop(self) -> None:
        """Stops intake, drains, closes; also after a failed start.

        Raises:
            DeadlineMissed: not everything was drained; all is closed.
        """
        ...

    def describe(self) -> list[str]:
        """Where it can be reached, a line each."""
        ...


def run_service(
    name: str, read: Callable[[], S], build: Callable[[S], Service[S]]
) -> int:
    """Runs a service until SIGINT or SIGTERM; returns the exit code.

    Args:
        name: of the service.
        read: reads its options; called again at each SIGHUP.
        build: makes it.

    Raises:
        SettingsError: the options cannot be used.
    """
    settings = read()
    logs.configure(name, settings.log.level, settings.log.format)
    memory.keep_large_blocks()
    memory.collect_rarely()
    try:
        service = build(settings)
    except BlkcoloError as error:
        return _cannot_start(name, error)
    return uvloop.run(_Process(name, service, settings, read).run())


def _cannot_start(name: str, error: BlkcoloError) -> int:
    sys.stderr.write(f"blkcolo {name}: cannot start: {error}\n")
    return EXIT_CANNOT_START


class _Process(Generic[S]):
    """One service and the signals that it gets."""

    def __init__(
        self, name: str, service: Service[S], settings: S, read: Callable[[], S]
    ) -> None:
        self._name = name
        self._service = service
        self._in_force = InForce(settings)
        self._read = read
        self._told_to_stop = asyncio.Event()
        self._told_to_reload = asyncio.Event()

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in _STOP_SIGNALS:
            signal.signal(number, self._end_while_starting)
        loop.add_signal_handler(signal.SIGHUP, self._told_to_reload.set)
        _log.info("starting", version=version("blkcolo"), pid=os.getpid())
        code = EXIT_OK
        try:
            await self._service.start()
            for number in _STOP_SIGNALS:
                loop.add_signal_handler(number, self._on_stop_signal)
            _log.info("ready", addresses=self._service.describe())
            readiness.tell_ready()
            await self._serve()
        except BlkcoloError as error:
            code = _cannot_start(self._name, error)
        finally:
            drained = await self._stop()
        return code if drained else EXIT_UNFINISHED

    def _end_while_starting(self, number: int, frame: FrameType | None) -> None:
        """Called between any two steps of the start, so that the log is not touched."""
        del number, frame
        text = f"blkcolo {self._name}: told to stop while starting: ends at once\n"
        os.write(sys.stderr.fileno(), text.encode())
        os._exit(EXIT_OK)

    def _on_stop_signal(self) -> None:
        if self._told_to_stop.is_set():
            _log.error("told to stop again: ends at once")
            os._exit(EXIT_UNFINISHED)
        self._told_to_stop.set()

    async def _serve(self) -> None:
        """Reloads when told to, until it is told to stop."""
        await until_first(
            asyncio.create_task(self._told_to_stop.wait(), name="stop signal"),
            asyncio.create_task(self._reload_when_told(), name="reload"),
        )

    async def _reload_when_told(self) -> None:
        while True:
            await self._told_to_reload.wait()
            self._told_to_reload.clear()
            readiness.tell_reloading()
            try:
                await self._reload()
            except BlkcoloError as error:
                _log.error("not reloaded, the old options stay", error=str(error))
            readiness.tell_ready()

    async def _reload(self) -> None:
        """Takes over what can change, and says what did."""
        settings = self._read()
        changed = self._in_force.changed(settings)
        applied = changed & _LOG_KEYS
        if applied:
            logs.configure(self._name, settings.log.level, settings.log.format)
        self._in_force.took(settings, applied)
        taken = await self._service.reload(settings, changed - applied)
        self._in_force.took(settings, taken)
        applied |= taken
        left = sorted(changed - applied)
        tell = _log.warning if left else _log.info
        tell("configuration reloaded", applied=sorted(applied), needs_restart=left)

    async def _stop(self) -> bool:
        """False if something was left undone, and was said."""
        _log.info("stopping")
        readiness.tell_stopping()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._service.stop()
        except TimeoutError:
            _log.error("stop took too long: ends at once", seconds=STOP_SECONDS)
            os._exit(EXIT_UNFINISHED)  # whatever hangs would hold the process up
        except DeadlineMissed as error:
            _log.error("stopped before all was replicated", error=str(error))
            return False
        _log.info("stopped")
        return True
