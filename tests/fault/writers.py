"""Clients that go on whatever is killed under them: the VM, and the Secondary VM."""

from __future__ import annotations

import contextlib
import errno
import random
import threading
from typing import TYPE_CHECKING

from tests.fault.recorded_disk import SECTOR, mark_of
from tests.nbd_client import NbdClient, NbdReplyError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.fault.recorded_disk import Load

_WRITE_ZEROES = 6
#: Bytes that one read asks for.
_STEP = 4 << 20
_REFUSED_PAUSE = 0.05
_PATIENCE = 300.0


def read_export(port: int, export: str) -> bytes:
    """All bytes of an export."""
    with NbdClient(port, export) as reader:
        size = reader.size
        return b"".join(
            reader.read(at, min(_STEP, size - at)) for at in range(0, size, _STEP)
        )


def connect(stack: contextlib.ExitStack, port: int, volumes: int) -> list[NbdClient]:
    """A client of each volume, that is patient.

    One that gave a living server up might see its write done behind a later one.
    """
    clients = [
        stack.enter_context(NbdClient(port, f"disk{number}"))
        for number in range(volumes)
    ]
    for client in clients:
        client.socket.settimeout(_PATIENCE)
    return clients


class _Persistent(threading.Thread):
    """A client of all volumes that connects again when its server died."""

    def __init__(self, name: str, port: int, volumes: int) -> None:
        super().__init__(name=name, daemon=True)
        self.failure: Exception | None = None
        self._port = port
        self._volumes = volumes
        self._end = threading.Event()

    def run(self) -> None:
        try:
            while not self._end.is_set():
                try:
                    with contextlib.ExitStack() as stack:
                        self.serve(connect(stack, self._port, self._volumes))
                except OSError:
                    self._end.wait(_REFUSED_PAUSE)
        except Exception as error:  # noqa: BLE001 - told to whoever ends it
            self.failure = error

    def serve(self, clients: Sequence[NbdClient]) -> None:
        """Writes until the end, or until the server is gone (OSError)."""
        raise NotImplementedError

    def end(self) -> None:
        """Ends it; raises what went wrong in it."""
        self._end.set()
        self.join(_PATIENCE)
        assert not self.is_alive(), f"{self.name} hangs"
        if self.failure is not None:
            raise self.failure


class RecordedWriter(_Persistent):
    """The VM: does the writes of a load, one after the other, each with its mark.

    Attributes:
        issued: the newest number that was sent.
        acked: the newest number whose mark was answered.
        fenced: a write was refused, since its primary was fenced.
    """

    def __init__(self, port: int, load: Load) -> None:
        super().__init__("VM", port, len(load.sizes))
        self.issued = self.acked = 0
        self.fenced = False
        self._load = load
        self._turn = threading.Condition()
        self._rests = self._rest_wanted = False

    def serve(self, clients: Sequence[NbdClient]) -> None:
        while not self._end.is_set():
            self._maybe_rest()
            number = self.issued + 1
            write = self._load.write(number)
            self.issued = number
            try:
                if write.data is None:
                    client = clients[write.volume]
                    client.request(_WRITE_ZEROES, write.offset, write.length)
                else:
                    clients[write.volume].write(write.offset, write.data)
                clients[0].write(0, mark_of(number))
            except OSError:
                self._load.interrupted.add(number)
                raise
            except NbdReplyError as error:
                if error.number != errno.EPERM:
                    raise
                self.fenced = True
                self._end.set()
                return
            self.acked = number

    def _maybe_rest(self) -> None:
        with self._turn:
            while self._rest_wanted and not self._end.is_set():
                self._rests = True
                self._turn.notify_all()
                self._turn.wait(1)
            self._rests = False

    @contextlib.contextmanager
    def resting(self) -> Iterator[int]:
        """Holds it between two writes; gives the last number."""
        with self._turn:
            self._rest_wanted = True
            assert self._turn.wait_for(lambda: self._rests, 60), "the VM hangs"
        try:
            yield self.acked
        finally:
            with self._turn:
                self._rest_wanted = False
                self._turn.notify_all()


class NoisyWriter(_Persistent):
    """The Secondary VM: writes that the next checkpoint must drop."""

    def __init__(self, port: int, volumes: int, seed: int) -> None:
        super().__init__("Secondary VM", port, volumes)
        self._rng = random.Random(seed)  # noqa: S311 - test data

    def serve(self, clients: Sequence[NbdClient]) -> None:
        while not self._end.wait(0.002):
            client = self._rng.choice(clients)
            length = self._rng.choice((512, 4096, 9000))
            offset = self._rng.randrange(client.size - length + 1)
            client.write(offset, self._rng.randbytes(length))


class RepeatedWrites:
    """Writes done one by one on images in memory and on an export.

    One that was under way when the server died is done again, so the images are
    exact whenever a call returns.
    """

    def __init__(self, port: int, images: list[bytearray], seed: int) -> None:
        self.images = images
        self._port = port
        self._rng = random.Random(seed)  # noqa: S311 - test data
        self._undone: tuple[int, int, bytes] | None = None

    def write(self, count: int) -> None:
        """Does so many writes; raises OSError when the server dies."""
        with contextlib.ExitStack() as stack:
            clients = connect(stack, self._port, len(self.images))
            for _ in range(count):
                volume, offset, data = self._undone or self._draw()
                self._undone = volume, offset, data
                clients[volume].write(offset, data)
                self.images[volume][offset : offset + len(data)] = data
                self._undone = None

    def _draw(self) -> tuple[int, int, bytes]:
        volume = self._rng.randrange(len(self.images))
        length = self._rng.choice((SECTOR, 4096, 5000, 30000))
        offset = self._rng.randrange(len(self.images[volume]) - length + 1)
        return volume, offset, self._rng.randbytes(length)
