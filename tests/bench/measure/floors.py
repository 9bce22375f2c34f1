"""What a MiB costs at least: each step of replication alone, in CPU time.

The local steps are single calls of the kernel, 1 MiB each; the stream is gRPC between
two processes as the services use it, and nothing else. The sum of a side's steps is
what that side cannot go below while it takes them. The cheapest round counts:
pages that a virtual machine has not used lately may cost many times as much once.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import socket
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import crc32c
import grpc
import uvloop

from blkcolo.process import memory
from blkcolo.stream import MESSAGE_LIMIT
from tests.bench.report.findings import Found, Grid

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.queues import Queue

    from tests.bench.measure.run import Run

_MIB = 1 << 20
_US = 1_000_000
_OPTIONS = [("grpc.max_receive_message_length", MESSAGE_LIMIT)]
_METHOD = ("floors", "Stream")
#: As many messages as the services leave unanswered.
_ACK_EVERY = 4


_SENDER = "gRPC stream of 1 MiB messages, sender"
_RECEIVER = "gRPC stream of 1 MiB messages, receiver"
_SOCKET = "receive from a socket"
_DISK = "pwrite over the disk"
_OLD = "pread of the old content"
_UNDO = "append to a fresh undo file"
_UNLINK = "unlink the undo file"
_AGAIN = "append over an undo file that is used again"
_CRC = "CRC32C"
_SECONDARY = (_RECEIVER, _OLD, _DISK, _CRC, _CRC)
_SUMS = {
    "sum on the primary: socket, disk, CRC32C, sender": (_SOCKET, _DISK, _SENDER, _CRC),
    "sum on the secondary: receiver, old content, undo, unlink, disk, two CRC32C": (
        *_SECONDARY,
        _UNDO,
        _UNLINK,
    ),
    "the same with an undo file that is used again": (*_SECONDARY, _AGAIN),
}


def measure(run: Run) -> Found:
    """Goes over an image's size in each step; the cheapest of the rounds."""
    memory.keep_large_blocks()  # as the services do
    rounds, pieces = run.rounds, run.size // _MIB
    local = [_local(run.folder, pieces) for _ in range(rounds)]
    cells = {name: min(each[name] for each in local) for name in local[0]}
    cells[_SOCKET] = min(_receive(pieces) for _ in range(rounds))
    streams = [_stream(pieces) for _ in range(rounds)]
    cells[_SENDER] = min(sender for sender, _ in streams)
    cells[_RECEIVER] = min(receiver for _, receiver in streams)
    cells |= {name: sum(cells[step] for step in steps) for name, steps in _SUMS.items()}
    rows = {name: {"us of CPU a MiB": value} for name, value in cells.items()}
    return Found(grids=[Grid("", "step alone", rows)])


def _local(folder: Path, pieces: int) -> dict[str, float]:
    content = memoryview(os.urandom(_MIB))
    into = memoryview(bytearray(_MIB))
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        disk, undo = Path(scratch) / "disk", Path(scratch) / "undo"
        with disk.open("w+b", buffering=0) as file:
            fd = file.fileno()
            _each(pieces, lambda at: os.pwrite(fd, content, at))
            over = _each(pieces, lambda at: os.pwrite(fd, content, at))
            read = _each(pieces, lambda at: os.preadv(fd, [into], at))
        with undo.open("w+b", buffering=0) as file:
            fd = file.fileno()
            fresh = _each(pieces, lambda at: os.pwrite(fd, content, at))
            again = _each(pieces, lambda at: os.pwrite(fd, content, at))
        freed = _us(undo.unlink, pieces)
    return {
        _DISK: over,
        _OLD: read,
        _UNDO: fresh,
        _AGAIN: again,
        _UNLINK: freed,
        _CRC: _each(pieces, lambda _: crc32c.crc32c(content)),
    }


def _each(pieces: int, step: Callable[[int], object]) -> float:
    """Microseconds a piece; a step takes the piece's offset."""

    def work() -> None:
        for number in range(pieces):
            step(number * _MIB)

    return _us(work, pieces)


def _us(work: Callable[[], object], pieces: int) -> float:
    began = time.thread_time()
    work()
    return _US * (time.thread_time() - began) / pieces


def _receive(pieces: int) -> float:
    """Of the receiving thread alone, over TCP on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        sending = socket.create_connection(listening.getsockname())
        receiving, _ = listening.accept()
    with sending, receiving:
        content, into = bytes(_MIB), bytearray(_MIB)
        sender = threading.Thread(target=sending.sendall, args=(content * pieces,))
        sender.start()
        used = _each(
            pieces, lambda _: receiving.recv_into(into, _MIB, socket.MSG_WAITALL)
        )
        sender.join()
    return used


def _stream(pieces: int) -> tuple[float, float]:
    """Of the sender's process and of the receiver's."""
    context = multiprocessing.get_context("spawn")  # gRPC does not survive a fork
    told: Queue[Any] = context.Queue()
    receiver = context.Process(target=_receiver, args=(told,))
    receiver.start()
    port = told.get(timeout=30)
    sender = context.Process(target=_sender, args=(told, port, pieces))
    sender.start()
    used = dict(told.get(timeout=60) for _ in range(2))
    sender.join()
    receiver.join()
    return _US * used["sender"] / pieces, _US * used["receiver"] / pieces


def _receiver(told: Queue[Any]) -> None:
    memory.keep_large_blocks()
    uvloop.run(_serve(told))


async def _serve(told: Queue[Any]) -> None:
    ended = asyncio.Event()

    async def stream(requests: Any, context: Any) -> None:
        began, number = 0.0, 0
        async for _ in requests:
            began = began or time.process_time()
            number += 1
            if number % _ACK_EVERY == 0:
                await context.write(b"received")
        told.put(("receiver", time.process_time() - began))
        ended.set()

    server = grpc.aio.server(options=_OPTIONS)
    handler: Any = grpc.stream_stream_rpc_method_handler(stream)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(_METHOD[0], {_METHOD[1]: handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    told.put(port)
    await ended.wait()
    await server.stop(1)


def _sender(told: Queue[Any], port: int, pieces: int) -> None:
    memory.keep_large_blocks()
    uvloop.run(_send(told, port, pieces))


async def _send(told: Queue[Any], port: int, pieces: int) -> None:
    address = f"127.0.0.1:{port}"
    async with grpc.aio.insecure_channel(address, options=_OPTIONS) as channel:
        call: Any = channel.stream_stream("/".join(("", *_METHOD)))()

        async def answers() -> None:
            async for _ in call:
                pass

        reading = asyncio.create_task(answers())
        content = os.urandom(_MIB)
        await call.write(content)
        began = time.process_time()
        for _ in range(pieces):
            await call.write(content)
        await call.done_writing()
        await reading
        told.put(("sender", time.process_time() - began))
