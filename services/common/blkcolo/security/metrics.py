"""What Prometheus learns about certificates, refusals and plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from blkcolo.security.authorization import names

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.core import Metric

    from blkcolo.security.authorization import PeerRole
    from blkcolo.security.certificate_files import CertificateFiles


class SecurityCollector(Collector):
    """Read at each scrape, which is also when changed files are noticed."""

    def __init__(self, files: CertificateFiles | None, *, insecure: bool) -> None:
        """Takes the files, if there are any, and what the configuration allows."""
        self._files = files
        self._insecure = insecure

    def collect(self) -> Iterable[Metric]:
        """Yields every family."""
        yield GaugeMetricFamily(
            "blkcolo_insecure",
            "1 where plain text beyond this machine is allowed (insecure = true).",
            float(self._insecure),
        )
        expiry = GaugeMetricFamily(
            "blkcolo_certificate_expiry_timestamp_seconds",
            "When the certificate in force ends: the service's own, and its CA's.",
            labels=["certificate"],
        )
        failures = CounterMetricFamily(
            "blkcolo_certificate_reload_failures",
            "Changed certificate files that could not be used; old ones stay in force.",
            labels=[],
        )
        if self._files is not None:
            found = self._files.current
            expiry.add_metric(["own"], found.cert_expires)
            expiry.add_metric(["ca"], found.ca_expires)
            failures.add_metric([], self._files.failures)
        yield from (expiry, failures)


class DenialCounter:
    """Counts what certificates were refused by method and roles."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Registers blkcolo_denied_total."""
        self._counter = Counter(
            "blkcolo_denied",
            "Calls and NBD clients refused for their certificate's roles.",
            ["method", "roles"],
            registry=registry,
        )

    def __call__(self, method: str, roles: frozenset[PeerRole]) -> None:
        """Counts one; `method` is "nbd" for an NBD client."""
        self._counter.labels(method.rpartition("/")[2], names(roles)).inc()
