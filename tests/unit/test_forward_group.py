"""The primary's group where calls meet, or its own disk refuses."""

from __future__ import annotations

import asyncio
import errno
from unittest.mock import patch

import pytest
from structlog.testing import capture_logs

from blkcolo.addresses import Address
from blkcolo.errors import Exhausted, Refused
from blkcolo.intent.log import IntentLog
from blkcolo.rpc.client import Dialer
from blkcolo.storage.volume_growth import VolumeGrowth
from blkcolo.stream import Ack, Hello, VolumeId, Welcome
from blkcolo.v1 import coordinator_pb2 as pb
from blkcolo_cli.render import rows
from blkcolo_primary.core.forward_state import ForwardState
from blkcolo_primary.runtime.group import ForwardGroup
from blkcolo_primary.runtime.link import Link
from blkcolo_primary.runtime.stream_run import StreamRun
from blkcolo_primary.settings import ForwardSettings
from blkcolo_primary.status import report
from tests.memory_files import MemoryFile, MemoryFolder

SIZE = 8192
NOWHERE = Address.parse("127.0.0.1:1")


def new_group(
    folder: MemoryFolder, settings: ForwardSettings | None = None
) -> ForwardGroup:
    volumes, disks = [VolumeId("disk0", "uuid0", SIZE)], [MemoryFile(SIZE)]
    return ForwardGroup(
        "vm",
        settings or ForwardSettings(ack_policy="received"),
        volumes,
        disks,
        folder,
        IntentLog(folder, "vm", [SIZE], 4096),
        VolumeGrowth(folder, "vm", volumes, disks),
        Dialer(),
    )


def test_options_that_few_people_want_are_told_at_the_start() -> None:
    async def scenario() -> None:
        settings = ForwardSettings(on_congestion="detach", window_writes=64)
        with capture_logs() as told:
            group = new_group(MemoryFolder(), settings)
        (line,) = told
        assert line["log_level"] == "warning"
        assert "a burst of 64 writes ends the protection" in line["event"]
        status = report(group, lambda name: name)
        assert status.warning == line["event"]
        assert ("warning", status.warning) in rows(pb.Group(primary=status))
        await group.close(0.0)

    asyncio.run(scenario())


def test_fence_that_is_not_stored_fails_what_waits_all_the_same() -> None:
    async def scenario() -> None:
        folder = MemoryFolder()
        group = new_group(folder)
        group.core.start(1)
        group.core.welcome(Welcome(1, None, 0, "copy", 0))
        reply = group.vm_writes.write(0, 0, memoryview(bytes(4096)), fua=False)
        assert reply is not None
        full = OSError(errno.ENOSPC, "full")
        with (
            patch.object(folder, "rename", side_effect=full),
            pytest.raises(Exhausted),
        ):
            await group.fence(2)
        assert group.core.state is ForwardState.FENCED
        with pytest.raises(OSError, match="not permitted"):
            await asyncio.wait_for(reply, 5)
        await group.close(0.0)

    asyncio.run(scenario())


@pytest.mark.parametrize("stop", [False, True])
def test_start_that_is_overtaken_does_not_answer_success(stop: bool) -> None:
    """By a fence or a stop, while the link of before is being ended."""

    async def scenario() -> None:
        group = new_group(MemoryFolder())
        group.streams._link = asyncio.create_task(asyncio.sleep(60))
        start = asyncio.create_task(group.streams.start(1, NOWHERE, 5.0))
        await asyncio.sleep(0)  # it waits for the link
        assert group.core.state is ForwardState.CONNECTING
        if stop:
            await group.stop_replication(2, drain=False, timeout=5.0)
        else:
            await group.fence(2)
        with pytest.raises(Refused, match="ended meanwhile"):
            await start
        assert group.streams._link is None
        await group.close(0.0)

    asyncio.run(scenario())


def test_a_full_window_is_sent_without_waiting_for_writes_that_cannot_come() -> None:
    async def scenario() -> None:
        settings = ForwardSettings(window_writes=64, gather_seconds=1)
        group = new_group(MemoryFolder(), settings)
        group.core.start(1)
        group.core.welcome(Welcome(1, None, 0, "copy", 0))
        assert group.core.stream is not None
        outbox, block = group.core.stream.outbox, memoryview(bytes(64))
        stream = StreamRun(
            group.core,
            group.volumes,
            group.vm_writes,
            group.verify,
            work=group.work,
            changed=group.changed,
        )
        hello = Hello("vm", 1, tuple(group.volumes))
        link = Link(stream, Dialer(), NOWHERE, hello, timeout=8, gather=3600)
        outbox.data_each(0, [0] * 63, [block] * 63)
        gathering = asyncio.create_task(link._gather_more(outbox))
        assert group.vm_writes.admit(0, 0, 64) is None
        await asyncio.sleep(0)
        outbox.data(0, 0, block)
        assert not outbox.urgent
        assert group.vm_writes.admit(0, 0, 64) is not None
        await asyncio.wait_for(gathering, 5)
        outbox.take()
        outbox.acknowledge(Ack(received=2, applied=2, durable=1))
        await group.close(0.0)

    asyncio.run(scenario())
