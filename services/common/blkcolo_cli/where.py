"""Where the coordinator is, and with which certificate it is called."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - the command line reads it
from typing import TYPE_CHECKING, Annotated, NamedTuple

from cyclopts import Parameter

from blkcolo.addresses import Address
from blkcolo.process.settings import SettingsError
from blkcolo.rpc.client import Dialer
from blkcolo.security.certificate_files import CertificateFiles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cyclopts import Token


_DEFAULT_ADDRESS = Address("127.0.0.1", 7400)


def _address(_: type, tokens: Sequence[Token]) -> Address:
    return Address.parse(tokens[0].value)


class _Paths(NamedTuple):
    ca: Path
    cert: Path
    key: Path


@Parameter(name="*")
@dataclass(frozen=True)
class Where:
    """Options of every command that calls the coordinator."""

    coordinator: Annotated[
        Address,
        Parameter(
            converter=_address,
            accepts_keys=False,
            n_tokens=1,
            show_default=str,
            env_var="BLKCOLO_COORDINATOR",
            help="The coordinator's gRPC address.",
        ),
    ] = _DEFAULT_ADDRESS
    ca: Annotated[
        Path | None,
        Parameter(env_var="BLKCOLO_TLS_CA", help="PEM: the CA of the services."),
    ] = None
    cert: Annotated[
        Path | None,
        Parameter(env_var="BLKCOLO_TLS_CERT", help="PEM: your own certificate."),
    ] = None
    key: Annotated[
        Path | None, Parameter(env_var="BLKCOLO_TLS_KEY", help="PEM: its private key.")
    ] = None
    insecure: Annotated[
        bool,
        Parameter(
            negative="",
            env_var="BLKCOLO_INSECURE",
            help="Allow plain text to another machine.",
        ),
    ] = False

    def dialer(self) -> Dialer:
        """What opens the channel.

        Raises:
            SettingsError: only some of the three files are named.
            Invalid: one of them cannot be used.
        """
        files = {"--ca": self.ca, "--cert": self.cert, "--key": self.key}
        missing = [name for name, path in files.items() if path is None]
        if len(missing) == len(files):
            return Dialer(insecure=self.insecure)
        if self.ca is None or self.cert is None or self.key is None:
            raise SettingsError([f"{', '.join(missing)} missing; TLS needs all three"])
        return Dialer(CertificateFiles(_Paths(self.ca, self.cert, self.key)))


DEFAULT = Where()
