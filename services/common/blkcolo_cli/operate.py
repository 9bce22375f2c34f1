"""The commands that ask or tell the coordinator."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from google.protobuf.json_format import MessageToDict
from rich.console import Console
from rich.console import Group as Stack
from rich.live import Live
from rich.table import Table

from blkcolo.errors import DeadlineMissed, Unavailable
from blkcolo.rpc.client import call
from blkcolo.v1 import coordinator_pb2 as pb
from blkcolo.v1 import types_pb2
from blkcolo_cli import render
from blkcolo_cli.coordinator_client import ASK_SECONDS, MOVE_SECONDS, Coordinator, run
from blkcolo_cli.where import DEFAULT, Where

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from google.protobuf.message import Message

EXIT_NOT_PROTECTED = 4

Name = Annotated[str | None, Parameter(help="The group; may be left out if single.")]
AsJson = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON.")]


def _plain(message: Message) -> object:
    return MessageToDict(
        message,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )


def print_json(message: Message | list[pb.Group]) -> None:
    """Prints a message as JSON, its default values included."""
    content = (
        [_plain(one) for one in message]
        if isinstance(message, list)
        else _plain(message)
    )
    print(json.dumps(content, indent=2))  # noqa: T201 - the command's output


def status(
    group: Name = None,
    *,
    watch: Annotated[bool, Parameter(negative="", help="Go on until Ctrl-C.")] = False,
    json: AsJson = False,
    coordinator: Where = DEFAULT,
) -> int:
    """Show whether groups are protected, and why not. Exit code 4 if one is not."""
    if watch:
        with suppress(KeyboardInterrupt):
            run(coordinator, lambda service: show_live(service, group, as_json=json))
        return 0
    found = run(coordinator, lambda service: _ask(service, group))
    if json:
        print_json(found)
    else:
        console = Console(highlight=False, soft_wrap=True)
        for each in found:
            shown = render.panel(each) if console.is_terminal else render.plain(each)
            console.print(shown, markup=False)
    protected = all(each.state == types_pb2.GROUP_STATE_PROTECTED for each in found)
    return 0 if protected else EXIT_NOT_PROTECTED


async def _ask(service: Coordinator, group: str | None) -> list[pb.Group]:
    if group is None:
        return await service.list_groups()
    request = pb.GetGroupRequest(group=group)
    answer = await call(service.stub.GetGroup, request, ASK_SECONDS, service.peer)
    return [answer.group]


async def _looks(
    service: Coordinator, group: str | None, interval: float
) -> AsyncIterator[list[pb.Group] | None]:
    """What each look finds; None while the coordinator does not answer any more.

    Raises:
        BlkcoloError: the first look was not answered, or a later one was refused.
    """
    yield await _ask(service, group)
    while True:
        await asyncio.sleep(interval)
        try:
            found = await _ask(service, group)
        except (Unavailable, DeadlineMissed):
            yield None
        else:
            yield found


async def show_live(
    service: Coordinator, group: str | None, *, as_json: bool = False
) -> None:
    """Shows groups until cancelled: in place on a terminal, else a line a change.

    A coordinator that is gone is waited for.
    """
    console = Console(highlight=False, soft_wrap=True)
    gone = f"{service.peer} does not answer; waiting for it"
    if as_json or not console.is_terminal:
        await _print_changes(_looks(service, group, 1.0), gone, as_json=as_json)
        return
    with Live(console=console, refresh_per_second=4) as live:
        async for found in _looks(service, group, 0.5):
            panels = [render.panel(each) for each in found or []]
            live.update(Stack(*panels) if found is not None else gone)


async def _print_changes(
    looks: AsyncIterator[list[pb.Group] | None], gone: str, *, as_json: bool
) -> None:
    last: list[str] | None = []
    async for found in looks:
        if found is None:
            if last is not None:
                print(gone, file=sys.stderr, flush=True)  # noqa: T201 - for people
            last = None
            continue
        lines = [
            json.dumps(_plain(each)) if as_json else render.line(each) for each in found
        ]
        if lines != last:
            print("\n".join(lines), flush=True)  # noqa: T201 - the command's output
        last = lines


def groups(*, json: AsJson = False, coordinator: Where = DEFAULT) -> None:
    """List the groups, one a line."""

    async def work(service: Coordinator) -> list[pb.Group]:
        return await service.list_groups()

    found = run(coordinator, work)
    if json:
        print_json(found)
        return
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        for each in found:
            console.print(render.line(each), markup=False)
        return
    table = Table("group", "state", "committed", "primary", "secondary")
    for each in found:
        table.add_row(
            each.spec.name,
            render.state_name(each),
            str(each.committed_epoch) if each.HasField("committed_epoch") else "-",
            each.spec.primary_address,
            each.spec.secondary_address,
        )
    console.print(table)


def checkpoint(
    group: Name = None, *, json: AsJson = False, coordinator: Where = DEFAULT
) -> None:
    """Take a checkpoint now; returns when it is committed."""

    async def work(service: Coordinator) -> pb.CheckpointResponse:
        request = pb.CheckpointRequest(group=await service.choose(group))
        stub = service.stub
        return await call(stub.Checkpoint, request, MOVE_SECONDS, service.peer)

    answer = run(coordinator, work)
    if json:
        print_json(answer)
    else:
        took = render.duration(answer.timings.total_seconds)
        say(f"checkpoint {answer.epoch} committed in {took}")


def checkpoints(
    group: Name = None, *, json: AsJson = False, coordinator: Where = DEFAULT
) -> None:
    """List the checkpoints that failover can lead to."""

    async def work(service: Coordinator) -> pb.ListCheckpointsResponse:
        request = pb.ListCheckpointsRequest(group=await service.choose(group))
        stub = service.stub
        return await call(stub.ListCheckpoints, request, ASK_SECONDS, service.peer)

    answer = run(coordinator, work)
    if json:
        print_json(answer)
        return
    if not answer.checkpoints:
        say("none: nothing is committed yet, or the group has failed over")
    elif Console().is_terminal:
        say(f"{'epoch':<8} {'committed':<19}  {'undo since':>10}  read it at")
    for entry in answer.checkpoints:
        at = time.localtime(entry.committed_timestamp_seconds)
        moment = time.strftime("%Y-%m-%d %H:%M:%S", at)
        held = render.size(entry.undo_bytes) if entry.nbd_uris else ""
        kept = f"  {held:>10}"
        say(f"{entry.epoch:<8} {moment}{kept}  {' '.join(entry.nbd_uris)}".rstrip())


def failover(
    group: Name = None,
    *,
    force: Annotated[
        bool,
        Parameter(negative="", help="Go on without the primary's answer: it is dead."),
    ] = False,
    to: Annotated[
        int | None, Parameter(help="A kept checkpoint; by default the last one.")
    ] = None,
    json: AsJson = False,
    coordinator: Where = DEFAULT,
) -> None:
    """Make the secondary's disk the VM's disk; it is writable at once."""

    async def work(service: Coordinator) -> pb.FailoverResponse:
        name = await service.choose(group)
        request = pb.FailoverRequest(group=name, force=force, epoch=to)
        return await call(service.stub.Failover, request, MOVE_SECONDS, service.peer)

    answer = run(coordinator, work)
    if json:
        print_json(answer)
        return
    say(f"failed over to checkpoint {answer.committed_epoch}")
    say(f"generation {answer.generation}")
    if not answer.primary_fenced:
        say("the primary did not answer; it is fenced when it comes back")
    for uri in answer.nbd_uris:
        say(f"the VM's disk is now {uri}")


def stop(
    group: Name = None,
    *,
    keep_latest: Annotated[
        bool,
        Parameter(negative="", help="Leave the secondary at the latest write."),
    ] = False,
    coordinator: Where = DEFAULT,
) -> None:
    """End replication; the secondary goes back to its last checkpoint."""

    async def work(service: Coordinator) -> pb.StopReplicationResponse:
        request = pb.StopReplicationRequest(
            group=await service.choose(group), keep_latest=keep_latest
        )
        stub = service.stub
        return await call(stub.StopReplication, request, MOVE_SECONDS, service.peer)

    _tell(run(coordinator, work).group)


def pause(group: Name = None, *, coordinator: Where = DEFAULT) -> None:
    """Suspend automatic checkpoints; forwarding goes on."""

    async def work(service: Coordinator) -> pb.PauseReplicationResponse:
        request = pb.PauseReplicationRequest(group=await service.choose(group))
        stub = service.stub
        return await call(stub.PauseReplication, request, ASK_SECONDS, service.peer)

    _tell(run(coordinator, work).group)


def resume(
    group: Name = None,
    *,
    discard: Annotated[
        Literal["secondary"] | None,
        Parameter(help="The side whose foreign contents may be overwritten."),
    ] = None,
    coordinator: Where = DEFAULT,
) -> None:
    """End a pause or a stop, and try again what waits for an operator."""

    async def work(service: Coordinator) -> pb.ResumeReplicationResponse:
        request = pb.ResumeReplicationRequest(
            group=await service.choose(group), discard_secondary=discard is not None
        )
        stub = service.stub
        return await call(stub.ResumeReplication, request, ASK_SECONDS, service.peer)

    _tell(run(coordinator, work).group)


def _tell(group: pb.Group) -> None:
    say(f"group {group.spec.name} is {render.state_name(group)}")
    if group.HasField("failure"):
        say(group.failure.message)


def say(text: str) -> None:
    """Prints a line for people."""
    Console(highlight=False, soft_wrap=True).print(text, markup=False)
