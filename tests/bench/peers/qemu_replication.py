"""QEMU's own block replication: two QEMU processes without a machine.

The primary is a quorum of the local image and a `replication` node over NBD; the
secondary serves that image, with an active and a hidden overlay above it. See QEMU's
docs/block-replication.txt. Checkpoints are taken between bursts, since the contract
is a stopped VM: a checkpoint under write corrupts the secondary's overlay.

The reference is NBD over TCP, as between two hosts. QEMU 7.2 leaves Nagle's algorithm
on where it serves, so some replies wait for a delayed acknowledgement; the same over
unix sockets, which have neither, is a peer of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import subprocess
import time
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.bench.peers import peer
from tests.bench.peers.images import copy, digest
from tests.bench.peers.peer import timed_ms
from tests.stack import free_ports, wait_until
from tests.tools import require_tool, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from qemu.qmp import QMPClient

    from tests.bench.peers.peer import Burst

NAME = "QEMU replication"
UNIX = "QEMU replication, unix sockets"
_QUORUM = "driver=quorum,read-pattern=fifo,vote-threshold=1"
_MACHINE = (
    *("-machine", "none", "-nodefaults", "-display", "none"),
    *("-S", "-accel", "tcg"),
)


class _Address(NamedTuple):
    """Where an NBD server listens: for QMP, for QEMU's own client, and as a URI."""

    qmp: dict[str, object]
    options: str
    uri: str

    def export(self, name: str) -> str:
        """The URI of an export."""
        return self.uri.format(export=name)


def _tcp(port: int) -> _Address:
    host = "127.0.0.1"
    return _Address(
        {"type": "inet", "data": {"host": host, "port": str(port)}},
        f"file.host={host},file.port={port}",
        f"nbd://{host}:{port}/{{export}}",
    )


def _unix(path: Path) -> _Address:
    return _Address(
        {"type": "unix", "data": {"path": str(path)}},
        f"file.path={path}",
        f"nbd+unix:///{{export}}?socket={path}",
    )


class Monitor:
    """One QEMU's QMP, called from plain code."""

    def __init__(self, socket: Path) -> None:
        """Connects."""
        from qemu.qmp import QMPClient  # noqa: PLC0415 - only in the bench extra

        self._loop = asyncio.new_event_loop()
        self._client: QMPClient = QMPClient("bench")
        self._loop.run_until_complete(self._client.connect(str(socket)))

    def call(self, command: str, **arguments: object) -> Any:
        """Runs a command; raises where QEMU refuses it."""
        asked = self._client.execute(command, arguments or None)
        return self._loop.run_until_complete(asked)

    def close(self) -> None:
        """Disconnects; QEMU may be gone."""
        from qemu.qmp import QMPError  # noqa: PLC0415 - bench extra

        with contextlib.suppress(QMPError, EOFError, OSError):
            self._loop.run_until_complete(self._client.disconnect())
        self._loop.close()


class QemuReplication:
    """One replicated disk."""

    def __init__(
        self,
        name: str,
        primary: Monitor,
        secondary: Monitor,
        images: tuple[Path, Path],
        uri: str,
        view: str,
    ) -> None:
        """Takes its name, monitors, images, the primary's export and the replica's."""
        self.name = name
        self.uri = uri
        self.images = images
        self.checkpoint_ms: list[float] = []
        self._primary = primary
        self._secondary = secondary
        self._view = view

    def after_burst(self) -> None:
        """A checkpoint: writers are idle now."""
        began = time.perf_counter()
        self._primary.call("xen-colo-do-checkpoint")
        self._secondary.call("xen-colo-do-checkpoint")
        self.checkpoint_ms.append(timed_ms(began))

    def check_replica(self, burst: Burst) -> str:
        """Checkpoint, more writes, failover: the view is the checkpoint."""
        self.after_burst()
        expected = digest(self.images[0])
        burst(self.uri)
        began = time.perf_counter()
        self._secondary.call(
            "xen-set-replication", enable=False, failover=True, primary=False
        )
        failover_ms = timed_ms(began)
        assert _digest_of_export(self._view) == expected, (
            "the failed-over view is not the last checkpoint"
        )
        middle = median(self.checkpoint_ms)
        return (
            f"equal byte for byte (checkpoint, writers idle, p50 {middle:.1f} ms,"
            f" failover {failover_ms:.1f} ms)"
        )


def _digest_of_export(uri: str) -> str:
    found = hashlib.blake2b()
    with subprocess.Popen(
        [require_tool("nbdcopy"), uri, "-"], stdout=subprocess.PIPE
    ) as reading:
        assert reading.stdout is not None
        while piece := reading.stdout.read(4 << 20):
            found.update(piece)
    assert reading.returncode == 0
    return found.hexdigest()


def over_tcp(folder: Path, base: Path) -> AbstractContextManager[QemuReplication]:
    """Both QEMUs, replicating, on copies of `base`; NBD over loopback TCP."""
    primary, secondary = free_ports(2)
    where = folder / "qemu-tcp"
    return _running(NAME, where, base, (_tcp(primary), _tcp(secondary)))


def over_unix(folder: Path, base: Path) -> AbstractContextManager[QemuReplication]:
    """The same; NBD over unix sockets, from fio and between the two."""
    where = folder / "qemu-unix"
    addresses = _unix(where / "P.nbd"), _unix(where / "S.nbd")
    return _running(UNIX, where, base, addresses)


@contextlib.contextmanager
def _running(
    name: str, folder: Path, base: Path, addresses: tuple[_Address, _Address]
) -> Iterator[QemuReplication]:
    folder.mkdir()
    size = base.stat().st_size
    p_image, s_image = folder / "P.img", folder / "S.img"
    copy(base, p_image)
    copy(base, s_image)
    active, hidden = folder / "A.qcow2", folder / "H.qcow2"
    for overlay in (active, hidden):
        run("qemu-img", "create", "-q", "-f", "qcow2", str(overlay), str(size))
    replica = (
        "if=none,id=childs0,driver=replication,mode=secondary,file.driver=qcow2,"
        f"top-id=colo-disk0,file.file.filename={active},"
        f"file.backing.driver=qcow2,file.backing.file.filename={hidden},"
        "file.backing.backing=parent0"
    )
    with contextlib.ExitStack() as stack:
        secondary = stack.enter_context(
            _qemu(
                folder / "S",
                f"if=none,id=parent0,file.filename={s_image},driver=raw",
                replica,
                f"if=none,id=colo-disk0,{_QUORUM},children.0=childs0",
            )
        )
        primary = stack.enter_context(
            _qemu(
                folder / "P",
                f"if=none,id=colo-disk0,{_QUORUM},"
                f"children.0.file.filename={p_image},children.0.driver=raw",
            )
        )
        _connect(primary, secondary, *addresses)
        uris = addresses[0].export("pvm"), addresses[1].export("svm")
        images = p_image, s_image
        yield QemuReplication(name, primary, secondary, images, *uris)


def _connect(
    primary: Monitor, secondary: Monitor, of_primary: _Address, of_secondary: _Address
) -> None:
    secondary.call("nbd-server-start", addr=of_secondary.qmp)
    secondary.call("nbd-server-add", device="parent0", writable=True)
    secondary.call("nbd-server-add", device="colo-disk0", name="svm", writable=True)
    line = (
        "drive_add -n buddy driver=replication,mode=primary,file.driver=nbd,"
        f"{of_secondary.options},file.export=parent0,node-name=replication0"
    )
    primary.call("human-monitor-command", **{"command-line": line})
    primary.call("x-blockdev-change", parent="colo-disk0", node="replication0")
    secondary.call("xen-set-replication", enable=True, primary=False)
    primary.call("xen-set-replication", enable=True, primary=True)
    primary.call("nbd-server-start", addr=of_primary.qmp)
    primary.call("nbd-server-add", device="colo-disk0", name="pvm", writable=True)


@contextlib.contextmanager
def _qemu(stem: Path, *drives: str) -> Iterator[Monitor]:
    socket, log = stem.with_suffix(".qmp"), stem.with_suffix(".log")
    options = [option for drive in drives for option in ("-drive", drive)]
    qmp = f"unix:{socket},server=on,wait=off"
    command = ("qemu-system-x86_64", *_MACHINE, "-qmp", qmp, *options)
    with peer.process(log, *command) as started:

        def there() -> bool:
            assert started.poll() is None, f"{stem.name} ended:\n{log.read_text()}"
            return socket.exists()

        wait_until(there, f"{stem.name} has its monitor")
        monitor = Monitor(socket)
        try:
            yield monitor
        finally:
            monitor.close()
