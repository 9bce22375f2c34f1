"""Where a service listens: host and port, or a Unix socket."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from pydantic_core import core_schema

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler

_ALLOWED = "give HOST:PORT, [IPV6]:PORT or unix:/PATH"


@dataclass(frozen=True)
class Address:
    """A TCP address, or with `path` a Unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> Address:
        """Reads an address as people write it.

        Raises:
            ValueError: says what is allowed.
        """
        if text.startswith("unix:"):
            path = text.removeprefix("unix:")
            if not Path(path).is_absolute():
                raise ValueError(f"{text!r} has no absolute path; {_ALLOWED}")
            return cls(path=path)
        host, colon, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not colon or not host or not port.isascii() or not port.isdigit():
            raise ValueError(f"{text!r} is no address; {_ALLOWED}")
        if int(port) > 65535:
            raise ValueError(f"{text!r}: a port is 0 to 65535; {_ALLOWED}")
        return cls(host, int(port))

    @property
    def is_unix(self) -> bool:
        """True for a Unix socket."""
        return bool(self.path)

    @property
    def grpc_target(self) -> str:
        """As gRPC writes it."""
        return str(self)

    @property
    def is_local(self) -> bool:
        """True where no other machine can listen in: loopback, a Unix socket."""
        if self.is_unix or self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False  # a name: whatever it resolves to may change

    @property
    def is_any(self) -> bool:
        """True for all addresses of the machine: 0.0.0.0, [::]."""
        try:
            return ip_address(self.host).is_unspecified
        except ValueError:
            return False

    @property
    def from_here(self) -> Address:
        """Where this machine reaches what listens here."""
        if not self.is_any:
            return self
        return Address("::1" if ":" in self.host else "127.0.0.1", self.port)

    def nbd_uri(self, export: str, *, tls: bool = False) -> str:
        """The NBD URI of an export (NBD uri.md)."""
        scheme = "nbds" if tls else "nbd"
        if self.is_unix:
            return f"{scheme}+unix:///{quote(export)}?socket={quote(self.path)}"
        return f"{scheme}://{self}/{quote(export)}"

    def with_port(self, port: int) -> Address:
        """The same host with another port."""
        return Address(self.host, port, self.path)

    def __str__(self) -> str:
        if self.is_unix:
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @classmethod
    def __get_pydantic_core_schema__(
        cls, _source: object, _handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Settings hold addresses as text."""

        def validate(value: object) -> Address:
            return value if isinstance(value, Address) else cls.parse(str(value))

        return core_schema.no_info_plain_validator_function(
            validate, serialization=core_schema.to_string_ser_schema()
        )
