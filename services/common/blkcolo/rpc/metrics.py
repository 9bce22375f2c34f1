"""Metrics of a gRPC server, under the names of go-grpc-prometheus.

Every method is there from the start, at 0, so that a rate never begins with a jump. A
WriteForward stream lives for months: it is counted as handled once, when it ends, and
its messages are counted as they come.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import grpc
from google.protobuf.descriptor_pool import Default
from prometheus_client import Counter, Histogram

from blkcolo.rpc.wrapping import Wrapper, WrappingInterceptor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from google.protobuf.descriptor import MethodDescriptor
    from prometheus_client import CollectorRegistry

    from blkcolo.rpc.context import Context

_LABELS = ("grpc_type", "grpc_service", "grpc_method")
_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class CallMetrics(WrappingInterceptor):
    """Counts the calls of every method of some services."""

    def __init__(self, registry: CollectorRegistry, services: Iterable[str]) -> None:
        """Registers everything.

        Args:
            registry: where.
            services: full names, as blkcolo.v1.PrimaryService.
        """
        families = _Families(registry)
        self._methods = {
            f"/{service}/{method.name}": _Method(families, service, method)
            for service in services
            for method in Default().FindServiceByName(service).methods
        }

    def wrapper_of(self, method: str) -> Wrapper | None:
        """What counts the calls of a method."""
        return self._methods.get(method)


class _Families:
    """The metric families that all methods share."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.started = Counter(
            "grpc_server_started", "RPCs that began.", _LABELS, registry=registry
        )
        self.handled = Counter(
            "grpc_server_handled",
            "RPCs that ended, by status.",
            (*_LABELS, "grpc_code"),
            registry=registry,
        )
        self.received = Counter(
            "grpc_server_msg_received",
            "Messages received.",
            _LABELS,
            registry=registry,
        )
        self.sent = Counter(
            "grpc_server_msg_sent", "Messages sent.", _LABELS, registry=registry
        )
        self.seconds = Histogram(
            "grpc_server_handling_seconds",
            "How long RPCs took; a stream's is its whole life.",
            _LABELS,
            buckets=_BUCKETS,
            registry=registry,
        )


class _Method(Wrapper):
    """One method's metrics."""

    def __init__(
        self, families: _Families, service: str, method: MethodDescriptor
    ) -> None:
        self._labels = (_type_of(method), service, method.name)
        self._started = families.started.labels(*self._labels)
        self._received = families.received.labels(*self._labels)
        self._sent = families.sent.labels(*self._labels)
        self._seconds = families.seconds.labels(*self._labels)
        self._handled = families.handled
        self._handled.labels(*self._labels, grpc.StatusCode.OK.name)

    def incoming(self, request: Any) -> Any:
        if hasattr(request, "__aiter__"):
            return self._counted_messages(request)
        self._received.inc()
        return request

    def answered(self) -> None:
        self._sent.inc()

    async def _counted_messages(
        self, messages: AsyncIterator[Any]
    ) -> AsyncIterator[Any]:
        async for message in messages:
            self._received.inc()
            yield message

    @asynccontextmanager
    async def around(self, context: Context) -> AsyncIterator[None]:
        """Counts one call from its beginning to its end, however it ends."""
        self._started.inc()
        began, left = time.monotonic(), False
        try:
            yield
        except (asyncio.CancelledError, GeneratorExit):
            left = True  # the caller gave up, or its deadline passed
            raise
        finally:
            code = grpc.StatusCode.CANCELLED.name if left else _code_of(context)
            self._handled.labels(*self._labels, code).inc()
            self._seconds.observe(time.monotonic() - began)


def _code_of(context: Context) -> str:
    code = cast("Any", context).code()
    for each in grpc.StatusCode:
        if code in (each, each.value[0]):
            return each.name
    return grpc.StatusCode.OK.name


def _type_of(method: MethodDescriptor) -> str:
    if method.client_streaming and method.server_streaming:
        return "bidi_stream"
    return "server_stream" if method.server_streaming else "unary"
