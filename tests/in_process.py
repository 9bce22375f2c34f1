"""The three services on one event loop of this process, for tests that look inside.

The configurations, ports and clients are those of `stack`; only the processes are not.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, ClassVar

import uvloop

from blkcolo.process.settings import load
from blkcolo_coordinator.service import build as build_coordinator
from blkcolo_coordinator.settings import CoordinatorSettings
from blkcolo_node.node import build as build_node
from blkcolo_node.settings import PrimarySettings, SecondarySettings
from tests.stack import NAMES, Stack

if TYPE_CHECKING:
    from collections.abc import Callable


class InProcess(Stack):
    """A stack whose services run on a thread; all of them, or none."""

    _BUILD: ClassVar[dict[str, tuple[type[Any], Callable[[Any], Any]]]] = {
        "secondary": (SecondarySettings, build_node),
        "primary": (PrimarySettings, build_node),
        "coordinator": (CoordinatorSettings, build_coordinator),
    }

    def start(self, *names: str, seconds: float = 60) -> None:
        assert not names
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="services", daemon=True)
        self._thread.start()
        assert self._started.wait(seconds), "the services do not start"
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        for name in NAMES:
            self._forget_channel(name)
        if self._failure is None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
        assert not self._thread.is_alive(), "the services do not stop"

    def _run(self) -> None:
        try:
            uvloop.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - raised by `start`
            self._failure = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        async with AsyncExitStack() as running:
            for name in NAMES:
                settings, build = self._BUILD[name]
                service = build(load(settings, self.config(name)))
                running.push_async_callback(service.stop)
                await service.start()
            self._started.set()
            await self._stop.wait()
