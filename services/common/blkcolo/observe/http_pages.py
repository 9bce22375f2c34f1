"""A few read-only pages beside the metrics, on the same port.

A page that was found is answered to GET and HEAD and to nothing else; it is never
cached, never framed, and may load nothing from elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING

from blkcolo.errors import BlkcoloError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_READ = ("GET", "HEAD")


@dataclass(frozen=True)
class Page:
    """What is at one path.

    Attributes:
        content_type: as HTTP says it.
        content: makes it; called on the server's threads. A BlkcoloError that it
            raises is answered as 503.
        headers: of this page.
    """

    content_type: str
    content: Callable[[], bytes]
    headers: Mapping[str, str] = field(default_factory=dict)


def or_unavailable(metrics: WSGIApplication) -> WSGIApplication:
    """The metrics, or 503 and why: a collector raised a BlkcoloError."""

    def answer(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        try:
            return metrics(environ, start_response)
        except BlkcoloError as error:
            status = HTTPStatus.SERVICE_UNAVAILABLE
            headers = [("Content-Type", "text/plain; charset=utf-8")]
            start_response(f"{status.value} {status.phrase}", headers)
            return [f"{error}\n".encode()]

    return answer


def with_pages(metrics: WSGIApplication, pages: Mapping[str, Page]) -> WSGIApplication:
    """The metrics at /metrics as they were, and the pages at their paths."""

    def answer(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        path, method = environ.get("PATH_INFO", "/"), environ["REQUEST_METHOD"]
        if path == "/metrics":
            return metrics(environ, start_response)
        page = pages.get(path)
        status, headers, body = HTTPStatus.OK, dict(_HEADERS), b""
        if page is None:
            status, body = HTTPStatus.NOT_FOUND, b"there is / and /metrics\n"
        elif method not in _READ:
            status = HTTPStatus.METHOD_NOT_ALLOWED
            body, headers["Allow"] = b"this only shows\n", ", ".join(_READ)
        else:
            headers |= {"Content-Type": page.content_type, **page.headers}
            try:
                body = page.content()
            except BlkcoloError as error:
                status, body = HTTPStatus.SERVICE_UNAVAILABLE, f"{error}\n".encode()
        headers.setdefault("Content-Type", "text/plain; charset=utf-8")
        headers["Content-Length"] = str(len(body))
        start_response(f"{status.value} {status.phrase}", list(headers.items()))
        return [] if method == "HEAD" else [body]

    return answer
