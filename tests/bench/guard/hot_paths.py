"""The four hot paths, driven in this process, and what they cost in operations.

    parse      NBD WRITE requests, out of the receive buffer to the export
    forward    intent log, local disk, outbox, bytes for gRPC; as parse, in bursts of a
               deep queue, and alone
    receive    bytes from gRPC to a batch that was checked
    apply      the Disk Buffer saves what the batch overwrites, and writes it

Operations are Python bytecodes and calls into C, counted, not timed: the same on a
busy machine and on an idle one.
"""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from blkcolo.intent.log import IntentLog
from blkcolo.nbd.connection import Connection
from blkcolo.nbd.constants import REQUEST_MAGIC, Command
from blkcolo.nbd.handshake import Session
from blkcolo.nbd.request_metrics import RequestMetrics
from blkcolo.nbd.requests import HEADER
from blkcolo.rpc import stream_bytes
from blkcolo.storage.posix_files import PosixFolder
from blkcolo.stream import Batch, VolumeId, Welcome
from blkcolo_primary.core.forward_state import ForwardState
from blkcolo_primary.core.forwarder import ForwarderCore
from blkcolo_primary.core.window import Window
from blkcolo_primary.vm.local_writes import LocalWrites
from blkcolo_secondary.buffer.disk_buffer import DiskBuffer
from blkcolo_secondary.stream.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import FrameType

BLOCK = 4096
#: Writes in one pass of each path: what a full message of 4 KiB writes holds.
WRITES = 256
#: A client with this depth sends so many at once.
BURST = 32
#: Far apart, in no order, each block once.
OFFSETS = [(number * 397 % 1024) * 16 * BLOCK for number in range(WRITES)]
_SIZE = 1024 * 16 * BLOCK
_CONTENT = bytes(range(256)) * (BLOCK // 256)
_VOLUME = VolumeId("disk", "0", _SIZE)
_EPOCH = 1


class Operations(NamedTuple):
    """What one request costs."""

    bytecodes: float
    c_calls: float


def count(work: Callable[[], object], requests: int) -> Operations:
    """Counts the operations of `work`, a request."""
    bytecodes = c_calls = 0

    def on_trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal bytecodes
        frame.f_trace_opcodes = True
        bytecodes += event == "opcode"
        return on_trace

    def on_profile(_: FrameType, event: str, __: Any) -> None:
        nonlocal c_calls
        c_calls += event == "c_call"

    traced, profiled = sys.gettrace(), sys.getprofile()
    sys.settrace(on_trace)
    try:
        work()
        sys.settrace(traced)
        first, c_calls = bytecodes, 0
        sys.setprofile(on_profile)
        work()
    finally:
        sys.setprofile(profiled)
        sys.settrace(traced)
    return Operations(first / requests, c_calls / requests)


class _Export:
    """Takes every write, alone or in a burst, and does nothing."""

    size = _SIZE
    read_only = False
    taken = 0

    def admit(self, offset: int, length: int) -> None:
        del offset, length

    def write(self, offset: int, data: memoryview, *, fua: bool) -> None:
        del offset, fua
        self.taken += len(data)

    def write_each(self, offsets: list[int], pieces: list[memoryview]) -> int:
        self.taken += sum(map(len, pieces))
        return len(offsets)


class _Transport:
    """Takes every reply."""

    replies = 0

    def is_closing(self) -> bool:
        return False

    def writelines(self, parts: list[bytes]) -> None:
        self.replies += len(parts)

    def resume_reading(self) -> None:
        pass


def parse_path(burst: int = BURST) -> Callable[[], None]:
    """Requests as they come from a socket, so many at a time."""
    export: Any = _Export()
    connection = asyncio.run(_connection(export))
    wire = b"".join(
        HEADER.pack(REQUEST_MAGIC, 0, Command.WRITE, number, offset, BLOCK) + _CONTENT
        for number, offset in enumerate(OFFSETS)
    )
    piece = burst * (HEADER.size + BLOCK)

    def work() -> None:
        before = export.taken
        for start in range(0, len(wire), piece):
            received = wire[start : start + piece]
            connection.get_buffer(-1)[: len(received)] = received
            connection.buffer_updated(len(received))
        assert export.taken - before == WRITES * BLOCK

    return work


async def _connection(export: Any) -> Connection:
    metrics = RequestMetrics()
    connection = Connection({}, set(), 1, metrics)
    connection._session = Session(export, _SIZE, structured=True, block_status=True)
    transport: Any = _Transport()
    connection._transport = transport
    return connection


def forward_path(folder: Path, burst: int = BURST) -> Callable[[], list[bytes]]:
    """Writes of a VM, so many at a time, and the messages they become."""
    files = PosixFolder(folder)
    disk = files.open("primary.img")
    disk.truncate(_SIZE)
    intent = IntentLog(files, "vm", [_SIZE], 64 << 10)
    core = ForwarderCore(
        "vm", [disk], files, intent, 1 << 20, Window(1 << 30), leaves_to_resync=False
    )
    core.start(1)
    core.welcome(Welcome(1, 0, _EPOCH, "copy"))
    core.standing.state = ForwardState.REPLICATING  # there is nothing to compare with
    writes = LocalWrites(core, [_VOLUME], _refuse, host=False, clock=time.monotonic)
    content = memoryview(_CONTENT)

    def work() -> list[bytes]:
        assert core.stream is not None
        outbox = core.stream.outbox
        for at in range(0, WRITES, burst):
            if burst == 1:
                writes.write(0, OFFSETS[at], content)
            else:
                offsets = OFFSETS[at : at + burst]
                assert writes.write_each(0, offsets, [content] * burst) == burst
        messages: list[bytes] = []
        while taken := outbox.take():
            messages.append(stream_bytes.encode_request(*taken))
        return messages

    return work


def _refuse(error: Exception) -> None:
    raise error


@dataclass
class _Received:
    """The batches of a receive path's last pass."""

    batches: list[Batch]


def receive_path(messages: list[bytes]) -> tuple[Callable[[], None], _Received]:
    """Messages as gRPC hands them over."""
    result = _Received([])

    def work() -> None:
        receiver = Receiver("vm", 1, [_VOLUME], _EPOCH)
        result.batches = []
        for raw in messages:
            seq, message = stream_bytes.decode(raw)
            receiver.receive(seq)
            assert isinstance(message, Batch)
            receiver.check_batch(message)
            result.batches.append(message)
        assert sum(len(b.payload) for b in result.batches) == WRITES * BLOCK

    return work, result


def apply_path(folder: Path, batches: list[Batch]) -> Callable[[], None]:
    """Batches whose blocks all have old content that must be saved, and a commit."""
    files = PosixFolder(folder)
    disk = files.open("secondary.img")
    for offset in OFFSETS:
        disk.write(offset, _CONTENT)
    buffer = DiskBuffer([_VOLUME], [disk], files, base=_EPOCH - 1)
    rest = [_in_epoch(batches, _EPOCH + number) for number in range(4)]

    def work() -> None:
        epoch = rest[0][0].epoch
        for batch in rest.pop(0):
            for _ in buffer.apply(batch):
                pass
        buffer.commit(epoch, epoch)

    return work


def _in_epoch(batches: list[Batch], epoch: int) -> list[Batch]:
    """The same writes, in another epoch: they are saved anew."""
    return [
        Batch(epoch, b.kinds, b.volumes, b.offsets, b.lengths, b.checksums, b.payload)
        for b in batches
    ]


def measure(folder: Path) -> dict[str, Operations]:
    """Operations a request of all four; each is warmed up once."""
    found: dict[str, Operations] = {}
    parse = parse_path()
    forward = forward_path(folder)
    messages = forward()
    receive, received = receive_path(messages)
    receive()
    apply = apply_path(folder, received.batches)
    for name, work in (
        ("parse", parse),
        ("parse alone", parse_path(1)),
        ("forward", forward),
        ("forward alone", forward_path(folder, 1)),
        ("receive", receive),
        ("apply", apply),
    ):
        work()
        found[name] = count(work, WRITES)
    return found
