"""The commands that look after the disks themselves: verify, grow."""

from __future__ import annotations

import json
from typing import Annotated

from cyclopts import Parameter
from google.protobuf.json_format import MessageToDict

from blkcolo.errors import Invalid, Reason
from blkcolo.process.settings import parse_size
from blkcolo.rpc.client import call
from blkcolo.v1 import coordinator_pb2 as pb
from blkcolo.v1 import primary_pb2, types_pb2
from blkcolo_cli import render
from blkcolo_cli.coordinator_client import MOVE_SECONDS, Coordinator, run
from blkcolo_cli.operate import AsJson, Name, say
from blkcolo_cli.where import DEFAULT, Where

#: A verify found something.
EXIT_DIFFERED = 5
#: How long one call waits for a pass; then it is asked again, in seconds.
_VERIFY_SECONDS = 10.0


def verify(
    group: Name = None, *, json: AsJson = False, coordinator: Where = DEFAULT
) -> int:
    """Compare both disks while the VM writes on, and repair what differs.

    Exit code 5 if anything differed.
    """

    async def work(service: Coordinator) -> primary_pb2.VerifyReport:
        request = pb.VerifyRequest(group=await service.choose(group))
        while True:
            answer = await call(
                service.stub.Verify, request, _VERIFY_SECONDS, service.peer
            )
            report = answer.report
            if report.complete or report.HasField("failure"):
                return report
            request.number = report.number
            if not json:
                done = render.size(report.done_bytes)
                say(f"{done} of {render.size(report.total_bytes)} compared")

    report = run(coordinator, work)
    if json:
        _print_json(report)
    else:
        _tell(report)
    if report.HasField("failure"):
        return 1
    return EXIT_DIFFERED if report.differing_bytes else 0


def _print_json(report: primary_pb2.VerifyReport) -> None:
    content = MessageToDict(
        report,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )
    print(json.dumps(content, indent=2))  # noqa: T201 - the command's output


def _tell(report: primary_pb2.VerifyReport) -> None:
    for extent in report.differing:
        say(f"{extent.volume} differed at {extent.offset}, {extent.length} bytes")
    differed = render.size(report.differing_bytes)
    if report.HasField("failure"):
        compared = render.size(report.done_bytes)
        say(f"ended early, {compared} compared: {report.failure.message}")
    elif report.differing_bytes:
        say(f"{render.size(report.total_bytes)} compared, {differed} repaired")
    else:
        say(f"{render.size(report.total_bytes)} compared, both sides are equal")


def grow(
    volume: Annotated[str, Parameter(help="The volume's name.")],
    size: Annotated[str, Parameter(help="The new size, as 2G.")],
    *,
    group: Annotated[
        str | None, Parameter(help="The group; may be left out if single.")
    ] = None,
    coordinator: Where = DEFAULT,
) -> None:
    """Make a volume larger on both sides while the VM writes on.

    Clients see the new size when they connect again. A block device is extended on
    both machines before; a cut-short growth is completed by the same command.
    """
    try:
        wanted = parse_size(size)
    except ValueError as error:
        raise Invalid(Reason.INVALID, f"size {size}: {error}") from error

    async def work(service: Coordinator) -> types_pb2.Volume:
        request = pb.GrowVolumeRequest(
            group=await service.choose(group), volume=volume, size_bytes=wanted
        )
        answer = await call(
            service.stub.GrowVolume, request, MOVE_SECONDS, service.peer
        )
        return answer.volume

    grown = run(coordinator, work)
    say(f"volume {grown.name} has {grown.size_bytes} bytes on both sides")
