"""The Prometheus endpoint of a service, and the pages beside it."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any, cast

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Info,
    disable_created_metrics,
    make_wsgi_app,
    start_http_server,
)

from blkcolo.errors import Reason, Refused
from blkcolo.http_pages import with_pages
from blkcolo.security.ssl_contexts import ServerContexts

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping
    from threading import Thread
    from wsgiref.simple_server import WSGIServer

    from blkcolo.addresses import Address
    from blkcolo.http_pages import Page
    from blkcolo.security.certificate_files import CertificateFiles


class MetricsServer:
    """Answers GET /metrics on a thread of its own."""

    def __init__(
        self,
        address: Address,
        registry: CollectorRegistry,
        files: CertificateFiles | None,
        pages: Mapping[str, Page] | None = None,
    ) -> None:
        """Takes what to serve, and adds what every service reports.

        Args:
            address: where.
            registry: what.
            files: with certificates it is HTTPS, for clients of the same CA.
            pages: what else is served, by path; None: metrics, at every path.
        """
        self._files = files
        self._pages = pages
        self._address = address
        self._registry = registry
        self._running: tuple[WSGIServer, Thread] | None = None
        # A series more for each counter, that nobody reads.
        disable_created_metrics()  # type: ignore[no-untyped-call] # has no types
        Info("blkcolo_build", "The running version.", registry=registry).info(
            {"version": version("blkcolo")}
        )

    def start(self) -> None:
        """Listens.

        Raises:
            Refused: the address cannot be listened on.
        """
        try:
            self._running = self._listen()
            if self._pages is not None:
                app = make_wsgi_app(self._registry)
                self._running[0].set_app(with_pages(app, self._pages))
        except OSError as error:
            raise Refused(
                Reason.WRONG_STATE,
                f"metrics.listen = {str(self._address)!r}: {error.strerror or error};"
                " stop the other service, or listen elsewhere",
            ) from error

    def _listen(self) -> tuple[WSGIServer, Thread]:
        where = self._address.port, self._address.host, self._registry
        if self._files is None:
            return start_http_server(*where)
        paths = self._files.paths
        server, thread = start_http_server(
            *where,
            certfile=str(paths.cert),
            keyfile=str(paths.key),
            client_cafile=str(paths.ca),
            client_auth_required=True,
        )
        contexts = ServerContexts(self._files, verify_client=True)

        def renew(handshake: ssl.SSLObject, *_: object) -> None:
            handshake.context = contexts.current

        listener = cast("Any", server.socket)  # a listening ssl.SSLSocket
        listener.context.sni_callback = renew
        # Else the one thread that accepts waits for a client that says nothing.
        listener.do_handshake_on_connect = False
        return server, thread

    def stop(self) -> None:
        """Stops and joins the thread."""
        if self._running is not None:
            server, thread = self._running
            server.shutdown()
            server.server_close()
            thread.join()


class ErrorCounter:
    """Counts answered errors by method and reason."""

    def __init__(self, service: str, registry: CollectorRegistry) -> None:
        """Registers blkcolo_<service>_errors_total."""
        self._counter = Counter(
            f"blkcolo_{service}_errors",
            "RPCs answered with an error, by method and reason.",
            ["method", "reason"],
            registry=registry,
        )

    def __call__(self, method: str, reason: Reason) -> None:
        """Counts one."""
        self._counter.labels(method.rsplit("/", 1)[-1], reason.name).inc()
