"""The Prometheus endpoint of a service, and the pages beside it."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any, cast

from google.protobuf.descriptor_pool import Default
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Info,
    disable_created_metrics,
    make_wsgi_app,
    start_http_server,
)

from blkcolo.errors import Reason, Refused
from blkcolo.observe.http_pages import or_unavailable, with_pages
from blkcolo.observe.on_loop import CollectedOnLoop, OnLoop
from blkcolo.security.ssl_contexts import ServerContexts

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable, Mapping, Sequence
    from threading import Thread
    from wsgiref.simple_server import WSGIServer

    from prometheus_client.registry import Collector

    from blkcolo.addresses import Address
    from blkcolo.observe.http_pages import Page
    from blkcolo.security.certificate_files import CertificateFiles


class MetricsServer:
    """Answers GET /metrics on a thread of its own."""

    def __init__(
        self,
        address: Address,
        registry: CollectorRegistry,
        files: CertificateFiles | None,
        states: Sequence[Collector],
        pages: Mapping[str, Page] | None = None,
    ) -> None:
        """Takes what to serve, and adds what every service reports.

        Args:
            address: where.
            registry: what.
            files: with certificates it is HTTPS, for clients of the same CA.
            states: more to serve, of what lives on the event loop.
            pages: what else is served, by path; None: metrics, at every path.
        """
        self._files = files
        self._pages = pages
        self._address = address
        self._registry = registry
        self._loop = OnLoop()
        for each in states:
            registry.register(CollectedOnLoop(each, self._loop))
        self._running: tuple[WSGIServer, Thread] | None = None
        # A series more for each counter, that nobody reads.
        disable_created_metrics()  # type: ignore[no-untyped-call] # has no types
        Info("blkcolo_build", "The running version.", registry=registry).info(
            {"version": version("blkcolo")}
        )

    def start(self) -> None:
        """Listens; called on the event loop.

        Raises:
            Refused: the address cannot be listened on.
        """
        self._loop.start()
        try:
            self._running = self._listen()
            app = or_unavailable(make_wsgi_app(self._registry))
            pages = self._pages
            self._running[0].set_app(app if pages is None else with_pages(app, pages))
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
    """Counts answered errors by service, method and reason."""

    def __init__(self, services: Iterable[str], registry: CollectorRegistry) -> None:
        """Registers blkcolo_errors_total.

        Program errors begin at 0 for every method: an increase is only seen above a
        sample that was there before.

        Args:
            services: full names, as blkcolo.v1.PrimaryService.
            registry: where.
        """
        self._counter = Counter(
            "blkcolo_errors",
            "RPCs answered with an error, by service, method and reason.",
            ["service", "method", "reason"],
            registry=registry,
        )
        for service in services:
            for method in Default().FindServiceByName(service).methods:
                self._of(f"/{service}/{method.name}", Reason.INTERNAL)

    def _of(self, method: str, reason: Reason) -> Counter:
        service, _, name = method.rpartition("/")
        return self._counter.labels(service.rpartition(".")[2], name, reason.name)

    def __call__(self, method: str, reason: Reason) -> None:
        """Counts one; `method` is the whole path."""
        self._of(method, reason).inc()
