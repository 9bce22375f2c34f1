"""The commands that say what happened and what is in the way."""

from __future__ import annotations

import asyncio
import json as json_text
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import grpc
from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from blkcolo.errors import Unavailable
from blkcolo.rpc.client import call
from blkcolo.rpc.errors import to_domain
from blkcolo.v1 import coordinator_pb2 as pb
from blkcolo.v1 import types_pb2
from blkcolo_cli.coordinator_client import ASK_SECONDS, Coordinator, run
from blkcolo_cli.operate import AsJson, Name, print_json
from blkcolo_cli.where import DEFAULT, Where

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds between two attempts to reach a coordinator that is gone.
_AGAIN_SECONDS = 1.0


def events(
    group: Name = None,
    *,
    follow: Annotated[bool, Parameter(negative="", help="Go on until Ctrl-C.")] = False,
    after: Annotated[int, Parameter(help="The number of the last known one.")] = 0,
    json: AsJson = False,
    coordinator: Where = DEFAULT,
) -> None:
    """Show what changed, one line each; with --json one object a line."""
    say = _as_json if json else _line

    async def work(service: Coordinator) -> None:
        stream = _Events(service, group or "", say, after)
        await stream.show(follow=follow)

    with suppress(KeyboardInterrupt):
        run(coordinator, work)


class _Events:
    """A stream of events that goes on where it was when the coordinator comes back."""

    def __init__(
        self,
        service: Coordinator,
        group: str,
        say: Callable[[pb.Event], None],
        after: int,
    ) -> None:
        self._service = service
        self._group = group
        self._say = say
        self._after = after
        self._reached = False

    async def show(self, *, follow: bool) -> None:
        """Shows them; raises BlkcoloError."""
        while True:
            try:
                await self._show_once(follow=follow)
            except Unavailable as error:
                if not (follow and self._reached):
                    raise
                self._tell(f"{error}; trying again")
                await asyncio.sleep(_AGAIN_SECONDS)
            else:
                return

    async def _show_once(self, *, follow: bool) -> None:
        request = pb.WatchEventsRequest(
            after_seq=self._after, group=self._group, follow=follow
        )
        timeout = None if follow else ASK_SECONDS
        try:
            async for part in self._service.stub.WatchEvents(request, timeout=timeout):
                self._reached = True
                if part.dropped:
                    self._tell(f"{part.dropped} events before these are not kept")
                for event in part.events:
                    self._say(event)
                    self._after = event.seq
        except grpc.aio.AioRpcError as error:
            raise to_domain(error, self._service.peer) from error

    @staticmethod
    def _tell(text: str) -> None:
        sys.stderr.write(f"blkcolo: {text}\n")


def kind_of(event: pb.Event) -> str:
    """The kind as people read it."""
    name = pb.EventKind.Name(event.kind).removeprefix("EVENT_KIND_")
    return name.lower().replace("_", " ")


def _as_json(event: pb.Event) -> None:
    plain = {
        "seq": event.seq,
        "timestamp_seconds": event.timestamp_seconds,
        "group": event.group,
        "kind": kind_of(event).replace(" ", "_"),
        "reason": types_pb2.Reason.Name(event.reason).removeprefix("REASON_"),
        "message": event.message,
        "epoch": event.epoch,
        "generation": event.generation,
        "from": event.before,
        "to": event.after,
    }
    print(json_text.dumps(plain), flush=True)  # noqa: T201 - the command's output


_COLOURS = {
    "protected": "bold green",
    "starting": "bold yellow",
    "unprotected": "bold red",
    "unreachable": "red",
    "reachable": "green",
    "failing_over": "bold magenta",
    "failed_over": "bold magenta",
}


def _line(event: pb.Event) -> None:
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event.timestamp_seconds))
    colour = _COLOURS.get(event.after, "red" if event.reason else "")
    text = Text()
    text.append(f"{event.seq:>6} {moment} ", style="dim")
    text.append(f"{event.group} {kind_of(event):17} ")
    text.append(event.message, style=colour)
    Console(highlight=False, soft_wrap=True).print(text)


def explain(
    group: Name = None, *, json: AsJson = False, coordinator: Where = DEFAULT
) -> None:
    """Show what each verb needs, what of it is met, and what mends the rest."""

    async def work(service: Coordinator) -> pb.ExplainResponse:
        request = pb.ExplainRequest(group=await service.choose(group))
        return await call(service.stub.Explain, request, ASK_SECONDS, service.peer)

    answer = run(coordinator, work)
    if json:
        print_json(answer)
        return
    console = Console(highlight=False, soft_wrap=True)
    for verb in answer.verbs:
        console.print(_verb(verb, terminal=console.is_terminal))


def _verb(verb: pb.VerbConditions, *, terminal: bool) -> Text:
    """A verb and its conditions: ticks on a terminal, words in a pipe."""
    marks = {True: ("✓", "green"), False: ("✗", "bold red")}
    words = {True: ("yes", ""), False: ("no", "")}
    shown = marks if terminal else words
    text = Text(verb.verb, style="bold")
    text.append(": " + ("possible" if verb.possible else "blocked"))
    for each in verb.conditions:
        mark, style = shown[each.holds]
        text.append("\n  ")
        text.append(f"{mark:3}" if not terminal else mark, style=style)
        text.append(f" {each.name.replace('_', ' ')}: {each.message}")
        if each.command:
            text.append(f"\n      {each.command}", style="bold")
    return text
