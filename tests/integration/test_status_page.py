"""The status page, in a real browser and as whoever asks for it by hand."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

import pytest

from blkcolo.errors import Reason, Unavailable
from blkcolo.observe.http_pages import Page, with_pages
from blkcolo_coordinator.status_page import content_security_policy
from tests.stack import Stack, running
from tests.tools import require_tool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import Message
    from pathlib import Path

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("page"), max_interval=0.1) as stack:
        yield stack


def ask(stack: Stack, path: str, method: str = "GET") -> tuple[int, Message, bytes]:
    """Status, headers and body."""
    connection = HTTPConnection("127.0.0.1", stack.metrics["coordinator"], timeout=10)
    with contextlib.closing(connection):
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


def browse(stack: Stack, profile: Path) -> tuple[str, list[str]]:
    """The page after two virtual seconds, and what the browser's console said."""
    done = subprocess.run(
        [
            require_tool("chromium"),
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-sync"),
            *("--disable-background-networking", "--no-first-run"),
            f"--user-data-dir={profile}",
            *("--enable-logging=stderr", "--virtual-time-budget=2000", "--dump-dom"),
            f"http://127.0.0.1:{stack.metrics['coordinator']}/",
        ],
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def test_browser_shows_the_group_and_then_its_failover(
    stack: Stack, tmp_path: Path
) -> None:
    stack.checkpoint()
    page, complaints = browse(stack, tmp_path / "first")
    assert complaints == []
    assert 'data-group="vm1" data-state="protected"' in page
    assert stack.uri("primary") in page
    assert page.count('class="run"') > 0
    assert "protected, was starting" in page
    stack.failover()
    stack.wait_flushed()
    page, complaints = browse(stack, tmp_path / "second")
    assert complaints == []
    assert 'data-group="vm1" data-state="failed_over"' in page
    assert "blkcolo reprotect vm1" in page
    assert "failed over, was failing over" in page


def test_json_has_what_the_page_shows(stack: Stack) -> None:
    _, headers, body = ask(stack, "/status.json")
    assert headers["Cache-Control"] == "no-store"
    shown: dict[str, Any] = json.loads(body)
    (entry,) = shown["groups"]
    assert entry["group"]["spec"]["name"] == "vm1"
    assert entry["rpo_seconds"] > 0
    assert {verb["verb"] for verb in entry["verbs"]} >= {"protect", "failover"}
    run = entry["checkpoints"][-1]
    assert run["committed"]
    assert set(run["seconds"]) >= {"prepare_primary", "do_secondary"}
    numbers = [int(event["seq"]) for event in shown["events"]]
    assert numbers == sorted(numbers, reverse=True)


def test_page_loads_nothing_from_elsewhere_and_is_only_read(stack: Stack) -> None:
    _, headers, html = ask(stack, "/")
    policy = headers["Content-Security-Policy"]
    assert policy == content_security_policy(html)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    elsewhere = re.findall(rb"https?://[^\"]+", html)
    assert elsewhere == [b"http://www.w3.org/2000/svg"]  # a name, never fetched
    assert b"innerHTML" not in html
    status, headers, body = ask(stack, "/", "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) == len(html)
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        status, headers, _ = ask(stack, "/", method)
        assert (status, headers["Allow"]) == (405, "GET, HEAD")
    assert ask(stack, "/nowhere")[0] == 404
    assert "blkcolo_coordinator_protected" in stack.scrape("coordinator")


def test_page_that_cannot_be_made_says_why() -> None:
    def busy() -> bytes:
        raise Unavailable(Reason.DEADLINE, "too busy; ask again")

    said: list[str] = []
    app = with_pages(lambda *_: [b""], {"/": Page("text/html", busy)})
    body = app(
        {"REQUEST_METHOD": "GET", "PATH_INFO": "/"},
        lambda status, *_: said.append(status),  # type: ignore[arg-type] # WSGI
    )
    assert said == ["503 Service Unavailable"]
    assert b"".join(body) == b"too busy; ask again\n"
