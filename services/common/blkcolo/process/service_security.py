"""The security of one service as its parts need it: made once, from its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from blkcolo.nbd.tls import NbdTls
from blkcolo.rpc.client import Dialer
from blkcolo.security.certificate_files import CertificateFiles
from blkcolo.security.metrics import DenialCounter, SecurityCollector

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from blkcolo.process.settings import (
        MetricsSettings,
        NbdSettings,
        ServiceSettings,
        TlsUse,
    )
    from blkcolo.security.authorization import PeerRole

_log = structlog.get_logger(__name__)


class ServiceSecurity:
    """Certificates, if `[tls]` names any, and everything that follows from them."""

    def __init__(
        self, settings: ServiceSettings, role: PeerRole, registry: CollectorRegistry
    ) -> None:
        """Reads the certificates and registers the metrics.

        Args:
            settings: of the service.
            role: what its own certificate must carry.
            registry: of the service's metrics.

        Raises:
            Invalid: a file cannot be used; names key and file.
        """
        self.files: CertificateFiles | None = None
        if settings.tls is not None:
            self.files = CertificateFiles(settings.tls)
            self.files.require_role(role)
        if settings.insecure:
            _log.warning("insecure = true: plain text beyond this machine is allowed")
        self.dialer = Dialer(self.files, insecure=settings.insecure)
        self.on_denied = DenialCounter(registry)
        registry.register(SecurityCollector(self.files, insecure=settings.insecure))

    def for_nbd(self, settings: NbdSettings) -> NbdTls | None:
        """TLS of the NBD server: None where it serves plain text."""
        if self.files is None or not _wanted(settings.tls, not settings.listen.is_unix):
            return None
        return NbdTls(self.files, self.on_denied, verify_client=settings.verify_client)

    def for_metrics(self, settings: MetricsSettings) -> CertificateFiles | None:
        """Certificates of the metrics endpoint: None where it serves plain text."""
        return (
            self.files if _wanted(settings.tls, not settings.listen.is_local) else None
        )


def _wanted(use: TlsUse, auto: bool) -> bool:
    return {"auto": auto, "always": True, "never": False}[use]
