"""The commands that change which side is primary: reprotect, switchover, failback."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from blkcolo.rpc.client import call
from blkcolo.v1 import coordinator_pb2 as pb
from blkcolo_cli import render
from blkcolo_cli.coordinator_client import MOVE_SECONDS, Coordinator, run
from blkcolo_cli.operate import AsJson, Name, print_json, say
from blkcolo_cli.where import DEFAULT, Where

if TYPE_CHECKING:
    from google.protobuf.message import Message

DryRun = Annotated[
    bool, Parameter(name="--dry-run", negative="", help="Only say what it would cost.")
]
_SIDES = {
    None: pb.SIDE_UNSPECIFIED,
    "primary": pb.SIDE_PRIMARY,
    "secondary": pb.SIDE_SECONDARY,
}


def reprotect(
    group: Name = None,
    *,
    discard: Annotated[
        Literal["primary", "secondary"] | None,
        Parameter(help="The side, as status calls it, whose writes are given up."),
    ] = None,
    dry_run: DryRun = False,
    json: AsJson = False,
    coordinator: Where = DEFAULT,
) -> None:
    """After a failover, make the old primary the secondary of the survivor.

    Only what either side wrote is compared. What is given up can be brought back until
    the next checkpoint. With --discard secondary the old primary stays the primary.
    """

    async def work(service: Coordinator) -> pb.ReprotectResponse:
        name = await service.choose(group)
        request = pb.ReprotectRequest(
            group=name, discard=_SIDES[discard], dry_run=dry_run
        )
        return await call(service.stub.Reprotect, request, MOVE_SECONDS, service.peer)

    answer = run(coordinator, work)
    _tell(answer, answer.change, answer.group, json=json)


def switchover(
    group: Name = None,
    *,
    dry_run: DryRun = False,
    json: AsJson = False,
    coordinator: Where = DEFAULT,
) -> None:
    """Swap the roles of a protected group; no answered write is lost."""

    async def work(service: Coordinator) -> pb.SwitchoverResponse:
        name = await service.choose(group)
        request = pb.SwitchoverRequest(group=name, dry_run=dry_run)
        return await call(service.stub.Switchover, request, MOVE_SECONDS, service.peer)

    answer = run(coordinator, work)
    _tell(answer, answer.change, answer.group, json=json)


def failback(
    group: Name = None,
    *,
    dry_run: DryRun = False,
    json: AsJson = False,
    coordinator: Where = DEFAULT,
) -> None:
    """Switch over to the side that the configuration calls primary."""

    async def work(service: Coordinator) -> pb.FailbackResponse:
        name = await service.choose(group)
        request = pb.FailbackRequest(group=name, dry_run=dry_run)
        return await call(service.stub.Failback, request, MOVE_SECONDS, service.peer)

    answer = run(coordinator, work)
    _tell(answer, answer.change, answer.group, json=json)


def _tell(
    answer: Message, change: pb.RoleChange, group: pb.Group, *, json: bool
) -> None:
    if json:
        print_json(answer)
        return
    would = "would be " if change.dry_run else ""
    if change.loser:
        side = pb.Side.Name(change.loser).removeprefix("SIDE_").lower()
        say(
            f"{would}given up: at most {render.size(change.lost_bytes)} of the {side}"
            f" {change.loser_address}, written in at most"
            f" {render.duration(change.lost_seconds)}"
        )
    else:
        say(f"{would}given up: nothing")
    say(f"{would}compared: at most {render.size(change.compared_bytes)}")
    if change.dry_run:
        return
    say(f"primary {group.primary_address}, secondary {group.secondary_address}")
    for uri in change.nbd_uris:
        say(f"the VM's disk is now {uri}")
