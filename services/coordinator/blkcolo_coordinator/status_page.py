"""The status page: one HTML file, and the JSON that it shows.

The page is read on the HTTP server's threads; what it shows is put together on the
event loop, so that a look at a group is never half of one state, half of the next.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from importlib.metadata import version
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from google.protobuf.json_format import MessageToDict

from blkcolo.observe.http_pages import Page
from blkcolo.observe.on_loop import OnLoop
from blkcolo_coordinator.runs.checkpoint_run import Outcome
from blkcolo_coordinator.runtime.group_facts import explained
from blkcolo_coordinator.status import event, report, verb_conditions

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from blkcolo_coordinator.runtime.checkpointer import Taken
    from blkcolo_coordinator.runtime.group_driver import GroupDriver
    from blkcolo_coordinator.runtime.groups import Groups

#: Events on the page.
_EVENTS = 50


class StatusPage:
    """The pages `/` and `/status.json`."""

    def __init__(self, groups: Groups) -> None:
        """Takes the groups; `start` names the loop that they live on."""
        self._groups = groups
        self._loop = OnLoop()
        self._html = files(__package__).joinpath("status_page.html").read_bytes()

    def start(self) -> None:
        """Called on the event loop."""
        self._loop.start()

    @property
    def pages(self) -> dict[str, Page]:
        """By path."""
        policy = {"Content-Security-Policy": content_security_policy(self._html)}
        return {
            "/": Page("text/html; charset=utf-8", lambda: self._html, policy),
            "/status.json": Page("application/json", self._json),
        }

    def _json(self) -> bytes:
        """On a thread of the HTTP server."""
        return json.dumps(self._loop.ask(self._shown)).encode()

    def _shown(self) -> dict[str, Any]:
        """On the event loop."""
        drivers = sorted(self._groups.drivers.items())
        now = time.time()
        last = self._groups.events.last(_EVENTS)
        return {
            "version": version("blkcolo"),
            "now": now,
            "groups": [_group(driver) for _, driver in drivers],
            "events": [_plain(event(each)) for each in reversed(last)],
        }


def content_security_policy(html: bytes) -> str:
    """Nothing but this very script and style, and answers of this server."""
    rules = ["default-src 'none'", "connect-src 'self'", "img-src data:"]
    for tag in ("script", "style"):
        found = re.findall(rf"<{tag}>(.*?)</{tag}>".encode(), html, re.DOTALL)
        hashes = [base64.b64encode(hashlib.sha256(each).digest()) for each in found]
        sources = " ".join(f"'sha256-{each.decode()}'" for each in hashes)
        rules.append(f"{tag}-src {sources}")
    rules += ["base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"]
    return "; ".join(rules)


def _plain(message: Message) -> dict[str, Any]:
    return MessageToDict(
        message,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )


def _group(driver: GroupDriver) -> dict[str, Any]:
    conditions = explained(driver)
    return {
        "group": _plain(report(driver)),
        "rpo_seconds": driver.recovery_point_age,
        "verbs": [_plain(verb_conditions(*each)) for each in conditions.items()],
        "checkpoints": [_checkpoint(each) for each in driver.taken],
    }


def _checkpoint(taken: Taken) -> dict[str, Any]:
    run = taken.run
    return {
        "epoch": run.epoch,
        "at": taken.at,
        "trigger": taken.trigger,
        "committed": run.outcome is Outcome.COMMITTED,
        "error": str(run.error) if run.error is not None else "",
        "seconds": {step.value: took for step, took in run.seconds.items()},
    }
