"""What a second core brings either side: a thread for disk work, or a process more.

The secondary's work three ways: receive and apply in turn, on one thread; receive on
one thread while another applies; two such groups in two processes at once. The
primary's two ways: the local write before the stream's copy, or beside it on a thread.
"""

from __future__ import annotations

import multiprocessing
import signal
import tempfile
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import google_crc32c

from blkcolo.process import memory
from blkcolo.rpc import stream_bytes
from blkcolo.storage.posix_files import PosixFolder
from blkcolo.stream import Batch, VolumeId, extend_digest
from blkcolo_primary.core.outbox import Outbox
from blkcolo_secondary.buffer.disk_buffer import DiskBuffer
from blkcolo_secondary.stream.receiver import Receiver
from tests.bench.report.findings import Finding, Found

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.synchronize import Barrier

    from tests.bench.measure.run import Run

_MIB = 1 << 20
_SIZE = 64 * _MIB
_VOLUME = VolumeId("disk", "0", _SIZE)
_ROUNDS = 24


def measure(run: Run) -> Found:
    """4 KiB and 1 MiB records, the best of the rounds; factors above 1 are a gain."""
    memory.keep_large_blocks()  # as the services do
    folder, rounds = run.folder, run.rounds
    found: list[Finding] = []
    for name, length in (("4 KiB", 4096), ("1 MiB", _MIB)):
        alone = min(_seconds(folder, length, _in_turn) for _ in range(rounds))
        threads = min(_seconds(folder, length, _overlapped) for _ in range(rounds))
        both = min(_two_processes(folder, length) for _ in range(rounds))
        found += [
            Finding(f"{name}, secondary: one thread", _ROUNDS / alone, "MiB/s"),
            Finding(
                f"{name}, secondary: apply on a thread of its own", alone / threads, "x"
            ),
            Finding(
                f"{name}, secondary: a process a group, 2 groups", 2 * alone / both, "x"
            ),
        ]
        alone = min(_forward_seconds(folder, length, 0) for _ in range(rounds))
        threads = min(_forward_seconds(folder, length, 1) for _ in range(rounds))
        found += [
            Finding(f"{name}, primary: one thread", _ROUNDS / alone, "MiB/s"),
            Finding(
                f"{name}, primary: local write on a thread of its own",
                alone / threads,
                "x",
            ),
        ]
    return Found(found)


def _forward_seconds(folder: Path, length: int, threads: int) -> float:
    """Local write, copy into the stream and encoding of `_ROUNDS` MiB."""
    payload = memoryview(bytearray(_MIB))[:length]
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        disk = PosixFolder(Path(scratch)).open("disk.img")
        for start in range(0, _SIZE, _MIB):
            disk.write(start, b"x" * _MIB)
        outbox = Outbox(1, _MIB)
        with ThreadPoolExecutor(1) as thread:
            began = time.perf_counter()
            for number in range(_ROUNDS * (_MIB // length)):
                offset = number * length * 397 % _SIZE
                if threads:
                    written = thread.submit(disk.write, offset, payload)
                    outbox.data(0, offset, payload)
                    written.result()  # the disk comes before the stream
                else:
                    disk.write(offset, payload)
                    outbox.data(0, offset, payload)
                if outbox.urgent and (taken := outbox.take()) is not None:
                    stream_bytes.encode_request(*taken)
            return time.perf_counter() - began


def _messages(length: int) -> list[bytes]:
    """Messages of 1 MiB each; the payload is the same, the offsets are not."""
    payload = bytes(range(256)) * (_MIB // 256)
    count = _MIB // length
    made = []
    for number in range(_ROUNDS):
        first = number * count
        batch = Batch(
            1,
            [1] * count,
            [0] * count,
            [(first + row) * length * 397 % _SIZE for row in range(count)],
            [length] * count,
            [google_crc32c.value(payload[:length])] * count,
            payload,
        )
        batch.digest = extend_digest(0, batch)
        made.append(stream_bytes.encode_request(number + 2, batch))
    return made


def _seconds(
    folder: Path,
    length: int,
    work: Callable[[list[bytes], Callable[[bytes], Batch], DiskBuffer], None],
) -> float:
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        files = PosixFolder(Path(scratch))
        disk = files.open("disk.img")
        for start in range(0, _SIZE, _MIB):
            disk.write(start, b"x" * _MIB)
        buffer = DiskBuffer([_VOLUME], [disk], files, base=0)
        messages = _messages(length)
        began = time.perf_counter()
        work(messages, _received, buffer)
        return time.perf_counter() - began


def _received(raw: bytes) -> Batch:
    _, batch = stream_bytes.decode(raw)
    assert isinstance(batch, Batch)
    Receiver("vm", 1, [_VOLUME], 1).check_batch(batch)
    return batch


def _apply(buffer: DiskBuffer, batch: Batch) -> None:
    for _ in buffer.apply(batch):
        pass


def _in_turn(
    messages: list[bytes], receive: Callable[[bytes], Batch], buffer: DiskBuffer
) -> None:
    for raw in messages:
        _apply(buffer, receive(raw))


def _overlapped(
    messages: list[bytes], receive: Callable[[bytes], Batch], buffer: DiskBuffer
) -> None:
    with ThreadPoolExecutor(1) as thread:
        waiting: list[Future[None]] = [
            thread.submit(_apply, buffer, receive(raw)) for raw in messages
        ]
    for each in waiting:
        each.result()


def _two_processes(folder: Path, length: int) -> float:
    """Two that begin together, each with what a service has; seconds of the slower.

    Fresh interpreters: a fork would inherit this one's signal handlers, and could not
    be ended by them.
    """
    context = multiprocessing.get_context("spawn")
    both = context.Barrier(2)
    with context.Pool(2, _begin_together, (both,)) as pool:
        tasks = [(folder, length, _in_turn)] * 2
        times = pool.starmap(_seconds, tasks, chunksize=1)
    return max(times)


def _begin_together(both: Barrier) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started this ends it
    memory.keep_large_blocks()
    both.wait()
